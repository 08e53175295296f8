package pin

import (
	"bytes"
	"errors"
	"testing"
)

func TestMatches_AcceptsOnlyTheSamePIN(t *testing.T) {
	stored, err := Seal("4711")
	if err != nil {
		t.Fatal(err)
	}
	for digits, want := range map[string]bool{"4711": true, "4712": false, "": false, "04711": false, "47110000000000000000": false} {
		if got, err := Matches(stored, digits); err != nil || got != want {
			t.Errorf("%q: %v, %v", digits, got, err)
		}
	}
	if bytes.Contains(stored, []byte("4711")) {
		t.Errorf("got stored form %s, want it without the PIN", stored)
	}
}

func TestSeal_RefusesInvalidPINs(t *testing.T) {
	for _, digits := range []string{"", "123", "12a4", "12 34", "12345678901234567", "١٢٣٤"} {
		if _, err := Seal(digits); !errors.Is(err, ErrForm) {
			t.Errorf("%q: got %v, want %v", digits, err, ErrForm)
		}
	}
}

func TestMatches_RefusesDamagedRecords(t *testing.T) {
	for _, stored := range []string{"", "{}", `{"rounds":1}`, `{"salt":"AA==","rounds":-1,"digest":"AA=="}`, `{"rounds":999999999999,"digest":"AA=="}`} {
		if ok, err := Matches([]byte(stored), "4711"); ok || err == nil {
			t.Errorf("%q: got %v, %v, want an error", stored, ok, err)
		}
	}
}
