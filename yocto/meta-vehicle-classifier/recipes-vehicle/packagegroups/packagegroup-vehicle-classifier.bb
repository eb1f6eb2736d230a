SUMMARY = "A roadside camera unit"
SUMMARY:${PN}-technician = "A roadside camera unit, tools for the technician"
DESCRIPTION = "What an image needs beside its board support: the unit, its data partition, the clock, the update check."
SECTION = "base"
LICENSE = "MIT"

inherit packagegroup

PACKAGES = "${PN} ${PN}-technician"

RDEPENDS:${PN} = "\
    vehicle-classifier-data \
    vehicle-classifier-update \
    vehicle-classifierd \
"
# On the device only while somebody works on it.
RDEPENDS:${PN}-technician = "\
    curl \
    util-linux \
    v4l-utils \
"
