package main

import (
	"os"
	"testing"
)

func TestLicenses_AreThoseOfWhatIsLinked(t *testing.T) {
	want, err := licenses("../../../cmd/sealpost")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../../cmd/sealpost/licenses.txt")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("cmd/sealpost/licenses.txt is not what is linked: run make licenses")
	}
}
