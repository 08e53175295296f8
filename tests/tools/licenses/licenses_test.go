package main

import (
	"compress/gzip"
	"io"
	"os"
	"testing"
)

func TestLicenses_MatchTheLinkedModules(t *testing.T) {
	want, err := licenses("../../../cmd/sealpost")
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open("../../../cmd/sealpost/internal/licenses/licenses.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("cmd/sealpost/internal/licenses/licenses.gz does not match the linked modules: run make licenses")
	}
}
