package main

import (
	"os"
	"testing"
)

func TestLicenses_MatchTheLinkedModules(t *testing.T) {
	want, err := licenses("../../../cmd/sealpost")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../../cmd/sealpost/licenses.txt")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("cmd/sealpost/licenses.txt does not match the linked modules: run make licenses")
	}
}
