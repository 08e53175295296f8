package tpm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-tpm/tpm2"

	"sealpost/hal"
)

// Capabilities implements hal.TPM.
func (t *TPM) Capabilities(ctx context.Context) (hal.TPMCapabilities, error) {
	var found hal.TPMCapabilities
	err := t.do(ctx, operation{name: "probe the TPM", limit: t.timeout, run: func(l *link) (err error) {
		found, err = l.capabilities()
		return err
	}})
	if err != nil {
		return hal.TPMCapabilities{}, err
	}
	return found, nil
}

func (l *link) capabilities() (hal.TPMCapabilities, error) {
	none := hal.TPMCapabilities{}
	manufacturer, err := l.property(tpm2.TPMPTManufacturer)
	if err != nil {
		return none, err
	}
	version1, err := l.property(tpm2.TPMPTFirmwareVersion1)
	if err != nil {
		return none, err
	}
	version2, err := l.property(tpm2.TPMPTFirmwareVersion2)
	if err != nil {
		return none, err
	}
	found := hal.TPMCapabilities{
		Manufacturer: manufacturerName(manufacturer),
		Firmware: fmt.Sprintf("%d.%d.%d.%d",
			version1>>16, version1&0xffff, version2>>16, version2&0xffff),
	}
	for _, t := range []hal.KeyType{hal.RSA2048, hal.RSA3072, hal.RSA4096, hal.ECDSAP256, hal.ECDSAP384} {
		err := l.supports(t)
		switch {
		case err == nil:
			found.Keys = append(found.Keys, t)
		case !errors.Is(err, errors.ErrUnsupported):
			return none, err
		}
	}
	return found, nil
}

// property reads one fixed property (TPM 2.0 Part 2, 6.13).
func (l *link) property(which tpm2.TPMPT) (uint32, error) {
	rsp, err := tpm2.GetCapability{
		Capability: tpm2.TPMCapTPMProperties, Property: uint32(which), PropertyCount: 1,
	}.Execute(l)
	if err != nil {
		return 0, fmt.Errorf("reading TPM property %#x: %w", uint32(which), err)
	}
	properties, err := rsp.CapabilityData.Data.TPMProperties()
	if err != nil {
		return 0, fmt.Errorf("decoding TPM property %#x: %w", uint32(which), err)
	}
	for _, p := range properties.TPMProperty {
		if p.Property == which {
			return p.Value, nil
		}
	}
	return 0, fmt.Errorf("%w: property %#x is missing", errInvalidResponse, uint32(which))
}

// manufacturerName returns the four letters of a manufacturer, without unprintable
// ones.
func manufacturerName(v uint32) string {
	text := string(binary.BigEndian.AppendUint32(nil, v))
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, text))
}

// State implements hal.TPM. Replaced means that the storage root key is not
// the one of the key or secret used last.
func (t *TPM) State(ctx context.Context) hal.TPMState {
	expected := t.expectedRoot()
	err := t.do(ctx, operation{name: "read the TPM's state", limit: t.timeout, run: func(l *link) error {
		// Unlike GetCapability, this command fails in failure mode.
		if _, err := (tpm2.GetRandom{BytesRequested: 8}).Execute(l); err != nil {
			return err
		}
		if expected == nil {
			return nil
		}
		if err := l.readRoot(); err != nil {
			return err
		}
		return l.requireRoot(expected)
	}})
	if fault, ok := errors.AsType[*hal.TPMFault](err); ok {
		return fault.State
	}
	if ctx.Err() != nil {
		// A TPM needs many seconds to create an RSA key.
		return hal.TPMBusy
	}
	if err != nil {
		return hal.TPMFailed
	}
	return hal.TPMReady
}
