################################################################################
#
# sealpost
#
################################################################################

# Installs the program built by "make build" and does not rebuild it: the box runs the
# tested binary, and Buildroot needs no Go and no modules, which it does not download
# for a local source tree.
SEALPOST_PROGRAM = $(BR2_EXTERNAL_SEALPOST_PATH)/../dist/sealpost-linux-arm64

define SEALPOST_INSTALL_TARGET_CMDS
	test -f $(SEALPOST_PROGRAM) || \
		{ echo "$(SEALPOST_PROGRAM) is missing: run make build in the source tree first."; exit 1; }
	$(INSTALL) -D -m 0755 $(SEALPOST_PROGRAM) $(TARGET_DIR)/init
endef

$(eval $(generic-package))
