SUMMARY = "Vehicle-classifying roadside camera unit"
DESCRIPTION = "One daemon from camera frames to traffic counts: int8 classification with TensorFlow Lite, a durable store, an authenticated API, metrics and a technician's page."
SECTION = "net"
CVE_PRODUCT = "vehicle-classifierd"
LICENSE = "MIT | Apache-2.0"
LIC_FILES_CHKSUM = "\
    file://LICENSE-MIT;md5=ccb96d6e2ba37f8c7b9783f2ae2b667a \
    file://LICENSE-APACHE;md5=22a53954e4e0ec258dfce4391e905dac \
"

# libclang for bindgen; curl for the build script of the crate tflitec, which runs on the build machine.
DEPENDS = "clang-native curl-native sqlite3-native systemd tensorflow-lite-c"

require ${BPN}-crates.inc

inherit cargo cargo-update-recipe-crates externalsrc pkgconfig systemd useradd

# The layer lives in the source tree. A product that takes the layer alone sets EXTERNALSRC to an empty value and adds a git://
# address with its SRCREV to SRC_URI.
EXTERNALSRC ?= "${@os.path.normpath(d.getVar('THISDIR') + '/../../../..')}"
EXTERNALSRC_BUILD ?= "${WORKDIR}/build"

TARGET_KEY = "${@d.getVar('RUST_TARGET_SYS').upper().replace('-', '_')}"

do_compile[vardeps] += "TARGET_KEY"
do_compile:prepend() {
    export TFLITEC_HEADER_DIR="${STAGING_INCDIR}/tensorflow-lite-c"
    export TFLITEC_PREBUILT_PATH_${TARGET_KEY}="${STAGING_LIBDIR}/vehicle-classifier/libtensorflowlite_c.so"
    export LIBCLANG_PATH="${STAGING_LIBDIR_NATIVE}"
    export BINDGEN_EXTRA_CLANG_ARGS="--sysroot=${STAGING_DIR_TARGET} --target=${TARGET_SYS}"
    # Not a git checkout of BitBake's.
    export VEHICLE_CLASSIFIER_COMMIT="${PV}"
}

do_install:append() {
    install -d ${D}${datadir}/vehicle-classifier
    for manifest in ${S}/models/*/*/manifest.json; do
        directory=$(dirname ${manifest#${S}/})
        install -d ${D}${datadir}/vehicle-classifier/$directory
        install -m 0644 ${S}/$directory/* ${D}${datadir}/vehicle-classifier/$directory/
    done

    install -D -m 0755 ${S}/systemd/backup ${D}${nonarch_libdir}/vehicle-classifier/backup
    install -d ${D}${systemd_system_unitdir}
    install -m 0644 ${S}/systemd/*.service ${S}/systemd/*.timer ${D}${systemd_system_unitdir}/
    install -D -m 0644 ${S}/systemd/sysusers.d/vehicle-classifier.conf ${D}${nonarch_libdir}/sysusers.d/vehicle-classifier.conf
    install -D -m 0644 ${S}/systemd/tmpfiles.d/vehicle-classifier.conf ${D}${nonarch_libdir}/tmpfiles.d/vehicle-classifier.conf
    install -D -m 0644 ${S}/systemd/udev/70-vehicle-camera.rules ${D}${nonarch_base_libdir}/udev/rules.d/70-vehicle-camera.rules
    install -D -m 0644 ${S}/systemd/journald.conf.d/50-vehicle-classifier.conf ${D}${nonarch_libdir}/systemd/journald.conf.d/50-vehicle-classifier.conf
    install -D -m 0644 ${S}/systemd/config.toml ${D}${datadir}/vehicle-classifier/config.toml
    install -d ${D}${sysconfdir}/vehicle-classifier/config.d
}

# On a read-only root file system nobody can be added at the first start, so sysusers.d alone would not do. The number is a fixed
# one: the state lies on another partition than the two root file systems of an A/B update.
VEHICLE_CLASSIFIER_UID ?= "812"
USERADD_PACKAGES = "${PN}"
GROUPADD_PARAM:${PN} = "--system --gid ${VEHICLE_CLASSIFIER_UID} vehicle-classifier"
USERADD_PARAM:${PN} = "--system --uid ${VEHICLE_CLASSIFIER_UID} --gid vehicle-classifier --groups video --home-dir ${localstatedir}/lib/vehicle-classifier --no-create-home --shell ${base_sbindir}/nologin vehicle-classifier"

PACKAGE_BEFORE_PN = "${PN}-models"

FILES:${PN} += "${nonarch_libdir} ${nonarch_base_libdir}/udev ${datadir}/vehicle-classifier/config.toml"
FILES:${PN}-models += "${datadir}/vehicle-classifier/models"

RDEPENDS:${PN} += "${PN}-models tensorflow-lite-c"

SYSTEMD_SERVICE:${PN} = "vehicle-classifierd.service vehicle-classifier-backup.timer"
