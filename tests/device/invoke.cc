// Invokes models through TensorFlow Lite's C library as the unit does (XNNPACK's int8 kernels, one thread), and says how many
// milliseconds of this machine's clock one invocation takes: on a machine whose clock counts instructions, millions of them.
//
//   invoke MODEL...
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tensorflow/lite/c/c_api.h"
#include "tensorflow/lite/core/c/common.h"
// The project's header is for C (set-up writes it).
extern "C" {
#include "tensorflow/lite/delegates/xnnpack/xnnpack_delegate.h"
}

enum { ROUNDS = 2 };

static double milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

static int invoke(const char *path) {
    TfLiteModel *model = TfLiteModelCreateFromFile(path);
    TfLiteXNNPackDelegateOptions xnnpack = TfLiteXNNPackDelegateOptionsDefault();
    xnnpack.num_threads = 1;
    xnnpack.flags |= TFLITE_XNNPACK_DELEGATE_FLAG_QS8 | TFLITE_XNNPACK_DELEGATE_FLAG_QU8;
    TfLiteInterpreterOptions *options = TfLiteInterpreterOptionsCreate();
    TfLiteInterpreterOptionsSetNumThreads(options, 1);
    TfLiteInterpreterOptionsAddDelegate(options, TfLiteXNNPackDelegateCreate(&xnnpack));
    TfLiteInterpreter *interpreter = model ? TfLiteInterpreterCreate(model, options) : NULL;
    if (!interpreter || TfLiteInterpreterAllocateTensors(interpreter)) return fprintf(stderr, "invoke: %s: cannot be loaded\n", path), 1;
    TfLiteTensor *input = TfLiteInterpreterGetInputTensor(interpreter, 0);
    memset(TfLiteTensorData(input), 64, TfLiteTensorByteSize(input));
    double took = 0;
    // The first one prepares; the last one counts.
    for (int round = 0; round < ROUNDS; round++) {
        double begun = milliseconds();
        if (TfLiteInterpreterInvoke(interpreter)) return fprintf(stderr, "invoke: %s: failed\n", path), 1;
        took = milliseconds() - begun;
    }
    printf("%s: %.1f ms\n", path, took);
    return 0;
}

int main(int count, char **words) {
    for (int at = 1; at < count; at++)
        if (invoke(words[at])) return 1;
    return 0;
}
