// Package licenses has the licences of everything that is linked into the program.
//
// It knows their text, which "make licenses" collects. It must not know what the
// libraries are for.
package licenses

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"io"
)

//go:embed licenses.gz
var compressed []byte

// Write writes the licences as text.
func Write(w io.Writer) error {
	r, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return err
}
