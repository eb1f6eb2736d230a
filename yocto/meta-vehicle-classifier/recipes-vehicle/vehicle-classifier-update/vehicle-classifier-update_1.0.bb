SUMMARY = "Keeps an update only when the vehicle classifier is well"
SUMMARY:${PN}-mender = "Keeps an update of Mender only when the vehicle classifier is well"
SUMMARY:${PN}-rauc = "Keeps an update of RAUC only when the vehicle classifier is well"
DESCRIPTION = "RAUC: boot-complete.target, and with it rauc-mark-good, waits for doctor; an update that fails it is marked bad and the machine goes back. Mender: the same as a state script of the commit."
SECTION = "base"
CVE_PRODUCT = "vehicle-classifierd"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

SRC_URI = "\
    file://ArtifactCommit_Enter_50_vehicle-classifier \
    file://update-check \
    file://update-rollback \
    file://vehicle-classifier-update-check.service \
    file://vehicle-classifier-update-rollback.service \
"

S = "${WORKDIR}"

inherit allarch systemd

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    install -d ${D}${nonarch_libdir}/vehicle-classifier ${D}${systemd_system_unitdir}
    install -m 0755 ${S}/update-check ${S}/update-rollback ${D}${nonarch_libdir}/vehicle-classifier/
    install -m 0644 ${S}/vehicle-classifier-update-check.service ${S}/vehicle-classifier-update-rollback.service ${D}${systemd_system_unitdir}/
    install -D -m 0755 ${S}/ArtifactCommit_Enter_50_vehicle-classifier ${D}${sysconfdir}/mender/scripts/ArtifactCommit_Enter_50_vehicle-classifier
    echo 3 > ${D}${sysconfdir}/mender/scripts/version
}

PACKAGE_BEFORE_PN = "${PN}-rauc ${PN}-mender"

FILES:${PN} += "${nonarch_libdir}/vehicle-classifier"
FILES:${PN}-rauc += "${systemd_system_unitdir} ${nonarch_libdir}/vehicle-classifier/update-rollback"
FILES:${PN}-mender += "${sysconfdir}/mender"

RDEPENDS:${PN} += "vehicle-classifierd"
RDEPENDS:${PN}-rauc += "${PN} rauc"
RDEPENDS:${PN}-mender += "${PN} util-linux-runuser"

SYSTEMD_PACKAGES = "${PN}-rauc"
SYSTEMD_SERVICE:${PN}-rauc = "vehicle-classifier-update-check.service vehicle-classifier-update-rollback.service"
