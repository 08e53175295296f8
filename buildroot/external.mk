include $(sort $(wildcard $(BR2_EXTERNAL_SEALPOST_PATH)/package/*/*.mk))
