// The far side of the emulated unit's cameras: feeds the loopback device with JPEG frames as a camera would, and works the fault
// controls of vivid. Statically linked for the guest; the test's own, never part of the product.
//
//   camera feed DEVICE FILE.mjpeg WIDTH HEIGHT FPS GATE    writes the frames of FILE: the first one until the file GATE exists,
//                                                          then all once ("over"), then the last one until killed
//   camera control DEVICE "NAME" VALUE                sets the control of that name
//   camera controls DEVICE                            lists them
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static int fail(const char *what) {
    fprintf(stderr, "camera: %s: %s\n", what, strerror(errno));
    return 1;
}

// The end of the JPEG that begins at `from`: behind its EOI marker. The files that the test makes hold no thumbnails.
static const unsigned char *end_of(const unsigned char *from, const unsigned char *limit) {
    for (const unsigned char *at = from + 2; at + 1 < limit; at++)
        if (at[0] == 0xFF && at[1] == 0xD9) return at + 2;
    return NULL;
}

static int feed(int device, const char *path, int width, int height, double fps, const char *gate) {
    FILE *file = fopen(path, "rb");
    if (!file) return fail(path);
    fseek(file, 0, SEEK_END);
    long length = ftell(file);
    rewind(file);
    unsigned char *bytes = malloc(length);
    if (!bytes || fread(bytes, 1, length, file) != (size_t)length) return fail(path);

    struct v4l2_format format = {.type = V4L2_BUF_TYPE_VIDEO_OUTPUT};
    format.fmt.pix.width = width;
    format.fmt.pix.height = height;
    format.fmt.pix.pixelformat = V4L2_PIX_FMT_MJPEG;
    format.fmt.pix.field = V4L2_FIELD_NONE;
    format.fmt.pix.sizeimage = 2 * width * height;
    if (ioctl(device, VIDIOC_S_FMT, &format)) return fail("VIDIOC_S_FMT");
    struct v4l2_streamparm rate = {.type = V4L2_BUF_TYPE_VIDEO_OUTPUT};
    rate.parm.output.timeperframe = (struct v4l2_fract){1, (unsigned)(fps < 1 ? 1 : fps)};
    ioctl(device, VIDIOC_S_PARM, &rate);

    const unsigned char *limit = bytes + length, *at = bytes;
    int waiting = 1, over = 0;
    struct timespec due;
    clock_gettime(CLOCK_MONOTONIC, &due);
    for (;;) {
        const unsigned char *end = end_of(at, limit);
        if (!end) return fprintf(stderr, "camera: %s has no end\n", path), 1;
        if (write(device, at, end - at) < 0) return fail("write");
        waiting = waiting && access(gate, F_OK);
        if (!waiting && end < limit) {
            at = end;
        } else if (end == limit && !over++) {
            puts("over");
            fflush(stdout);
        }
        long long next = due.tv_nsec + (long long)(1e9 / fps);
        due.tv_sec += next / 1000000000;
        due.tv_nsec = next % 1000000000;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
    }
}

// Walks the controls; sets the one of that name, or lists all.
static int control(int device, const char *name, int value) {
    struct v4l2_queryctrl query = {.id = V4L2_CTRL_FLAG_NEXT_CTRL};
    for (; !ioctl(device, VIDIOC_QUERYCTRL, &query); query.id |= V4L2_CTRL_FLAG_NEXT_CTRL) {
        if (!name) {
            printf("%#x %s\n", query.id, query.name);
        } else if (!strcmp((const char *)query.name, name)) {
            struct v4l2_control set = {.id = query.id, .value = value};
            return ioctl(device, VIDIOC_S_CTRL, &set) ? fail(name) : 0;
        }
    }
    if (!name) return 0;
    fprintf(stderr, "camera: no control %s\n", name);
    return 1;
}

int main(int count, char **words) {
    if (count < 3) return fprintf(stderr, "camera: feed, control or controls, and a device\n"), 2;
    int device = open(words[2], O_RDWR);
    if (device < 0) return fail(words[2]);
    if (!strcmp(words[1], "feed") && count == 8)
        return feed(device, words[3], atoi(words[4]), atoi(words[5]), atof(words[6]), words[7]);
    if (!strcmp(words[1], "control") && count == 5) return control(device, words[3], atoi(words[4]));
    if (!strcmp(words[1], "controls")) return control(device, NULL, 0);
    return fprintf(stderr, "camera: bad arguments\n"), 2;
}
