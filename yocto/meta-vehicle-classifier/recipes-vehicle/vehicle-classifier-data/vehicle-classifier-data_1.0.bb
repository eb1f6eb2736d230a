SUMMARY = "State of the vehicle classifier on a data partition"
DESCRIPTION = "For a read-only root file system: mounts the state directory of the unit from the data partition."
SECTION = "base"
CVE_PRODUCT = "vehicle-classifierd"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

SRC_URI = "\
    file://var-lib-vehicle-classifier-backup.mount.in \
    file://var-lib-vehicle-classifier.mount.in \
    file://vehicle-classifier-data.service.in \
"

S = "${WORKDIR}"

inherit allarch systemd

# Where the data partition is mounted.
VEHICLE_CLASSIFIER_DATA ?= "/data"

do_configure[noexec] = "1"

do_compile() {
    for unit in ${S}/*.in; do
        sed 's|@DATA@|${VEHICLE_CLASSIFIER_DATA}|g' $unit > $(basename $unit .in)
    done
}

do_install() {
    install -d ${D}${systemd_system_unitdir}
    install -m 0644 vehicle-classifier-data.service ${D}${systemd_system_unitdir}/
    # systemd wants a mount unit's name to be its place, with a dash in that written as \x2d.
    install -m 0644 var-lib-vehicle-classifier.mount '${D}${systemd_system_unitdir}/var-lib-vehicle\x2dclassifier.mount'
    install -m 0644 var-lib-vehicle-classifier-backup.mount '${D}${systemd_system_unitdir}/var-lib-vehicle\x2dclassifier\x2dbackup.mount'
    # The places themselves: they cannot be made on a read-only file system.
    install -d ${D}${localstatedir}/lib/vehicle-classifier ${D}${localstatedir}/lib/vehicle-classifier-backup
    # Wanted here, not through SYSTEMD_SERVICE: its class does not take the escaped names.
    install -d ${D}${systemd_system_unitdir}/local-fs.target.wants
    ln -s '../var-lib-vehicle\x2dclassifier.mount' '../var-lib-vehicle\x2dclassifier\x2dbackup.mount' ${D}${systemd_system_unitdir}/local-fs.target.wants/
}

FILES:${PN} += "${systemd_system_unitdir} ${localstatedir}/lib"

SYSTEMD_SERVICE:${PN} = "vehicle-classifier-data.service"
