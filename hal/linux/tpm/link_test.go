package tpm

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"sealpost/hal"
)

// script is a TPM that returns scripted responses to any command: success and a body
// of at most 255 bytes, each preceded by its length.
type script struct{ rest []byte }

func (s *script) exchange([]byte, time.Time) ([]byte, error) {
	if len(s.rest) == 0 {
		return nil, io.EOF
	}
	n := min(int(s.rest[0]), len(s.rest)-1)
	tag := []byte{0x80, 0x01}
	response := binary.BigEndian.AppendUint32(tag, uint32(responseHeader+n))
	response = append(response, 0, 0, 0, 0)
	response = append(response, s.rest[1:1+n]...)
	s.rest = s.rest[1+n:]
	return response, nil
}

func (s *script) managed() bool { return false }
func (s *script) close()        {}

func body(b []byte) []byte { return append([]byte{byte(len(b))}, b...) }

func FuzzTPMResponse(f *testing.F) {
	root := tpm2.ECCSRKTemplate
	curve := elliptic.P256().Params()
	root.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
		X: tpm2.TPM2BECCParameter{Buffer: curve.Gx.FillBytes(make([]byte, 32))},
		Y: tpm2.TPM2BECCParameter{Buffer: curve.Gy.FillBytes(make([]byte, 32))},
	})
	encoded := tpm2.Marshal(tpm2.New2B(root))
	name, err := tpm2.ObjectName(&root)
	if err != nil {
		f.Fatal(err)
	}
	noHandles := body([]byte{0, 0, 0, 0, 1, 0, 0, 0, 0})
	readPublic := body(append(append([]byte{}, encoded...), append(tpm2.Marshal(*name), 0, 0)...))
	session := body(append([]byte{2, 0, 0, 0, 0, 16}, make([]byte, 16)...))
	var valid []byte
	for _, response := range [][]byte{noHandles, noHandles, noHandles, readPublic, session} {
		valid = append(valid, response...)
	}
	f.Add(valid)
	f.Add(append(valid, body([]byte{0x80, 0, 0, 0, 0, 0, 0, 4, 0, 2, 1, 2, 0, 0, 1, 0, 0})...))
	f.Add(append(valid, body([]byte{0, 0, 0, 6, 0, 0, 1, 5, 0, 0, 0, 1})...))
	f.Add([]byte{0})

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	w, err := newWrappable(key)
	if err != nil {
		f.Fatal(err)
	}
	obj := hal.TPMObject{Root: encoded, Public: tpm2.Marshal(tpm2.New2B(w.public)), Private: []byte{0, 1, 1}}
	request, err := newSignRequest(key.Public(), make([]byte, 32), crypto.SHA256)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, responses []byte) {
		for _, use := range []func(*link) error{
			func(l *link) error { _, err := l.capabilities(); return err },
			func(l *link) error { _, err := l.sign(obj, request); return err },
			func(l *link) error { _, err := l.unseal(obj); return err },
			func(l *link) error { _, err := l.create(sealedData, []byte{1}); return err },
			func(l *link) error { _, err := l.importKey(w); return err },
		} {
			l := &link{channel: &script{responses}}
			if l.setUp() != nil {
				continue
			}
			if err := use(l); err != nil && asFault("use", err).Error() == "" {
				t.Errorf("got error %T without a text", err)
			}
		}
	})
}

func TestSignature_IsRefusedUnlessItVerifies(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	digest := make([]byte, 32)
	request, err := newSignRequest(key.Public(), digest, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	obj := hal.TPMObject{Root: []byte("root"), Private: []byte("loaded")}
	l := &link{
		root:    &storageRoot{encoded: obj.Root},
		session: tpm2.PasswordAuth(nil),
		loaded:  []loadedKey{{id: string(obj.Private)}},
	}
	good, err := key.Sign(rand.Reader, digest, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	bad := append([]byte{}, good...)
	bad[len(bad)-1] ^= 1
	for _, test := range []struct {
		signature []byte
		want      error
	}{{good, nil}, {bad, errUnverified}, {nil, errUnverified}} {
		request.make = func(*link, tpm2.AuthHandle) ([]byte, error) { return test.signature, nil }
		if got, err := l.sign(obj, request); !errors.Is(err, test.want) || test.want != nil && got != nil {
			t.Errorf("signature %x: got %x, error %v, want %v", test.signature, got, err, test.want)
		}
	}
}
