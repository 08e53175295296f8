################################################################################
#
# sealpost
#
################################################################################

# The program is taken as "make build" made it, and not built anew: the box then
# runs the very bytes that the tests ran, and Buildroot needs neither its Go nor
# our modules, which it does not fetch for a source tree on this machine.
SEALPOST_PROGRAM = $(BR2_EXTERNAL_SEALPOST_PATH)/../dist/sealpost-linux-$(if $(BR2_aarch64),arm64,armv7)

define SEALPOST_INSTALL_TARGET_CMDS
	test -f $(SEALPOST_PROGRAM) || \
		{ echo "There is no $(SEALPOST_PROGRAM): run make build in the source tree first."; exit 1; }
	$(INSTALL) -D -m 0755 $(SEALPOST_PROGRAM) $(TARGET_DIR)/init
endef

$(eval $(generic-package))
