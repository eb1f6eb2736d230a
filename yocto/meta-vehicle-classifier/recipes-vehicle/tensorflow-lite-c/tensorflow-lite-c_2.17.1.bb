SUMMARY = "TensorFlow Lite's C library with the XNNPACK delegate"
DESCRIPTION = "The library as the Python package pymicro-wakeword carries it, and the headers of its C interface from the crate edgefirst-tflite-sys. Building it takes bazel, which no layer of scarthgap brings."
HOMEPAGE = "https://www.tensorflow.org/lite"
SECTION = "libs"
CVE_PRODUCT = "google:tensorflow"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://wheel/pymicro_wakeword-2.5.0.dist-info/licenses/LICENSE;md5=86d3f3a95c324c9479bd8986968f4327"

SRC_URI = "\
    crate://crates.io/edgefirst-tflite-sys/0.10.3 \
    file://xnnpack_delegate.h \
"
SRC_URI[edgefirst-tflite-sys-0.10.3.sha256sum] = "458c8adba94ceeb5f15a6c7d28553f5622110dd29b74b5b9b535a3988f5eaba5"
SRC_URI:append:aarch64 = " https://files.pythonhosted.org/packages/61/c2/764792cf610550c6e8dc06cc7ece77c0a3020054c029c907c2bbdda526f3/pymicro_wakeword-2.5.0-py3-none-manylinux_2_35_aarch64.whl;name=aarch64;downloadfilename=${BPN}-${PV}-aarch64.zip;subdir=wheel"
SRC_URI:append:x86-64 = " https://files.pythonhosted.org/packages/59/db/651fffa65447022403cb44968a2e2a717c31a33ebe17e77e1e96a6289623/pymicro_wakeword-2.5.0-py3-none-manylinux_2_35_x86_64.whl;name=x86-64;downloadfilename=${BPN}-${PV}-x86-64.zip;subdir=wheel"
SRC_URI[aarch64.sha256sum] = "6c75b77c936efd19b8c35a094cb7e3fdbd4ebcd0f63635a0851ce591990829f2"
SRC_URI[x86-64.sha256sum] = "3869f536402b1254e3be3549d3a462ecd6ed21ce2c3e77ec8eb501c3c700417c"

S = "${WORKDIR}"

COMPATIBLE_HOST = "(aarch64|x86_64).*-linux"

# A library that is built already.
INHIBIT_DEFAULT_DEPS = "1"
INHIBIT_PACKAGE_STRIP = "1"
INHIBIT_PACKAGE_DEBUG_SPLIT = "1"
INHIBIT_SYSROOT_STRIP = "1"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

HEADERS = "${WORKDIR}/cargo_home/bitbake/edgefirst-tflite-sys-0.10.3/tensorflow"

do_install() {
    install -D -m 0644 ${S}/wheel/pymicro_wakeword/lib/libtensorflowlite_c.so ${D}${libdir}/vehicle-classifier/libtensorflowlite_c.so

    install -d ${D}${includedir}/tensorflow-lite-c
    cp -R --no-preserve=ownership ${HEADERS} ${D}${includedir}/tensorflow-lite-c/tensorflow
    # In TensorFlow, too, this one only forwards.
    install -d ${D}${includedir}/tensorflow-lite-c/tensorflow/lite/c
    echo '#include "tensorflow/lite/core/c/c_api.h"' > ${D}${includedir}/tensorflow-lite-c/tensorflow/lite/c/c_api.h
    install -D -m 0644 ${S}/xnnpack_delegate.h ${D}${includedir}/tensorflow-lite-c/tensorflow/lite/delegates/xnnpack/xnnpack_delegate.h
}

# It has no version in its name and is loaded by it.
FILES_SOLIBSDEV = ""
FILES:${PN} += "${libdir}/vehicle-classifier/libtensorflowlite_c.so"
SYSROOT_DIRS:append = " ${libdir}/vehicle-classifier"

# Linked by others, with their flags: there is no other way with a library that is built already.
# nooelint: oelint.vars.insaneskip
INSANE_SKIP:${PN} += "already-stripped ldflags"
RDEPENDS:${PN} += "libgcc libstdc++"
