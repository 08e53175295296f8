package main

import (
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"sealpost/hal/linux/flash"
	"sealpost/provisioning/bundle"
	"sealpost/provisioning/state"
)

func TestACertificateAloneSetsNoBoxUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "box.state")
	if err := flash.Create(path, 2*state.AreaSize); err != nil {
		t.Fatal(err)
	}
	stick := fstest.MapFS{"sealpost/contoso.pem": {Data: []byte("x")}}
	v := bundle.Apply(t.Context(), stick, "525400123456", usable, (&options{state: path, tpm: "/no/such/tpm"}).checker)
	if said := strings.Join(v.Faults, "\n"); v.Applied || !strings.Contains(said, "sealpost: this box was never set up") {
		t.Errorf("the stick is %s", v)
	}
}
