# nooelint: oelint.var.suggestedvar.CVE_PRODUCT - an image is no product of anybody's
SUMMARY = "Example image of a roadside camera unit"
DESCRIPTION = "Read-only root file system, configuration and state on a data partition, the unit started by systemd."
SECTION = "images"
LICENSE = "MIT"

inherit core-image

# What changes lies on the data partition: /etc as an overlay (configuration, machine id, and with it the unit's name), the state by
# vehicle-classifier-data. Name the partition for your board in local.conf or in the machine's configuration.
IMAGE_FEATURES += "overlayfs-etc read-only-rootfs"
OVERLAYFS_ETC_MOUNT_POINT ?= "/data"
OVERLAYFS_ETC_DEVICE ?= "/dev/mmcblk0p4"
OVERLAYFS_ETC_FSTYPE ?= "ext4"

IMAGE_INSTALL = "\
    kernel-modules \
    packagegroup-core-boot \
    packagegroup-vehicle-classifier \
    ${CORE_IMAGE_EXTRA_INSTALL} \
"

# No locale but C is needed; times are in UTC.
IMAGE_LINGUAS = ""
