#!/bin/sh
# Copies board.toml to the target, and checks the kernel configuration. Buildroot
# calls it as
#
#     buildroot/post-build.sh TARGET BOARD
set -eu

here=$(dirname "$0")
install -D -m 644 "$here/../board/$2/board.toml" "$1/etc/sealpost/board.toml"

# setting SYMBOL prints a value in Buildroot's configuration, with its variable replaced.
setting() {
    sed -n "s/^$1=\"\(.*\)\"\$/\1/p" "$BR2_CONFIG" | sed "s|\$(BR2_EXTERNAL_SEALPOST_PATH)|$here|g"
}
# shellcheck disable=SC2046
"$here/check-fragments" "$BUILD_DIR/linux-$(setting BR2_LINUX_KERNEL_CUSTOM_VERSION_VALUE)/.config" \
    $(setting BR2_LINUX_KERNEL_CUSTOM_CONFIG_FILE) $(setting BR2_LINUX_KERNEL_CONFIG_FRAGMENT_FILES)
