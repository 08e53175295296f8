//go:build !quick

package tpm_test

import (
	"bytes"
	"context"
	"crypto"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"sealpost/hal"
	"sealpost/hal/linux/tpm"
	"sealpost/tests/rigs/parts"
)

// eventually waits until try succeeds.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still failing: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestSign_WorksAfterATPMRestart(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *parts.Swtpm{
		"unix": parts.StartSwtpm, "tcp": parts.StartSwtpmTCP,
	} {
		t.Run(name, func(t *testing.T) {
			swtpm := start(t)
			chip := open(t, swtpm.Address())
			_, signer := importKey(t, chip, hal.ECDSAP256)
			sealed, err := chip.Seal(t.Context(), []byte("still here"))
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if err := errors.Join(sign(signer), swtpm.Stop(), swtpm.Start(), sign(signer), swtpm.Stop(), swtpm.Start()); err != nil {
					t.Fatal(err)
				}
				if got, err := chip.Unseal(t.Context(), sealed); err != nil || string(got) != "still here" {
					t.Fatalf("Unseal: got %q, %v, want \"still here\"", got, err)
				}
			}
		})
	}
}

// fail returns only a response code for the first execution of a command.
func fail(command tpm2.TPMCC, code tpm2.TPMRC) func(sent, response []byte) []byte {
	var once sync.Once
	return func(sent, response []byte) []byte {
		if tpm2.TPMCC(binary.BigEndian.Uint32(sent[6:10])) == command {
			once.Do(func() {
				response = binary.BigEndian.AppendUint32([]byte{0x80, 1, 0, 0, 0, 10}, uint32(code))
			})
		}
		return response
	}
}

func TestSign_RecoversOnceFromALossInsideTheTPM(t *testing.T) {
	swtpm := parts.StartSwtpm(t)
	first := open(t, swtpm.Address())
	obj, _ := importKey(t, first, hal.ECDSAP256)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		command tpm2.TPMCC
		code    tpm2.TPMRC
	}{
		"the key is gone":                        {tpm2.TPMCCSign, tpm2.TPMRCReferenceH0},
		"the session is gone":                    {tpm2.TPMCCSign, tpm2.TPMRCReferenceS0},
		"the session belongs to another program": {tpm2.TPMCCSign, tpm2.TPMRCAuthFail | 0x900},
		"the TPM was reset":                      {tpm2.TPMCCLoad, tpm2.TPMRCInitialize},
		"the slots are full":                     {tpm2.TPMCCLoad, tpm2.TPMRCObjectMemory},
		"the TPM returns TPM_RC_RETRY":           {tpm2.TPMCCStartAuthSession, tpm2.TPMRCRetry},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			chip := open(t, interpose(t, swtpm, fail(test.command, test.code)))
			signer, err := chip.LoadKey(obj)
			if err != nil {
				t.Fatal(err)
			}
			if err := sign(signer); err != nil {
				t.Error(err)
			}
			if err := chip.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestSign_DistinguishesAKeyFailureFromATPMFailure(t *testing.T) {
	swtpm := parts.StartSwtpm(t)
	first := open(t, swtpm.Address())
	obj, _ := importKey(t, first, hal.ECDSAP256)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	failureMode := binary.BigEndian.AppendUint32([]byte{0x80, 1, 0, 0, 0, 10}, uint32(tpm2.TPMRCFailure))
	tests := map[string]struct {
		edit func(sent, response []byte) []byte
		want hal.TPMState
	}{
		"for the object alone": {fail(tpm2.TPMCCLoad, tpm2.TPMRCFailure), hal.TPMReplaced},
		"for everything":       {func(_, _ []byte) []byte { return failureMode }, hal.TPMFailed},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			chip := open(t, interpose(t, swtpm, test.edit))
			signer, err := chip.LoadKey(obj)
			if err != nil {
				t.Fatal(err)
			}
			wantFault(t, sign(signer), test.want)
			if err := chip.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestState_RecognizesAClearedTPM(t *testing.T) {
	swtpm := parts.StartSwtpm(t)
	chip := open(t, swtpm.Address())
	obj, signer := importKey(t, chip, hal.ECDSAP256)
	sealed, err := chip.Seal(t.Context(), []byte("gone"))
	if err != nil {
		t.Fatal(err)
	}
	if state := chip.State(t.Context()); state != hal.TPMReady {
		t.Errorf("before: got state %s, want ready", state)
	}
	if err := swtpm.Clear(); err != nil {
		t.Fatal(err)
	}
	wantFault(t, sign(signer), hal.TPMReplaced)
	_, err = chip.Unseal(t.Context(), sealed)
	wantFault(t, err, hal.TPMReplaced)
	if state := chip.State(t.Context()); state != hal.TPMReplaced {
		t.Errorf("after: got state %s, want replaced", state)
	}

	// The advice is to import again.
	reimported, signer := importKey(t, chip, hal.ECDSAP256)
	if err := sign(signer); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(reimported.Root, obj.Root) {
		t.Error("got the old root in the cleared TPM, want a new one")
	}
	if state := chip.State(t.Context()); state != hal.TPMReady {
		t.Errorf("after importing again: got state %s, want ready", state)
	}
}

func TestLoadKey_RejectsAKeyWrappedForAnotherTPM(t *testing.T) {
	chip, otherChip := open(t, parts.StartSwtpm(t).Address()), open(t, parts.StartSwtpm(t).Address())
	obj, _ := importKey(t, chip, hal.ECDSAP256)
	sealed, err := chip.Seal(t.Context(), []byte("mine"))
	if err != nil {
		t.Fatal(err)
	}
	fromOther, _ := importKey(t, otherChip, hal.ECDSAP256)
	for name, root := range map[string][]byte{"its own root": obj.Root, "the root of the other TPM": fromOther.Root} {
		t.Run(name, func(t *testing.T) {
			foreign, foreignSealed := obj, sealed
			foreign.Root, foreignSealed.Root = root, root
			signer, err := otherChip.LoadKey(foreign)
			if err != nil {
				t.Fatal(err)
			}
			wantFault(t, sign(signer), hal.TPMReplaced)
			_, err = otherChip.Unseal(t.Context(), foreignSealed)
			wantFault(t, err, hal.TPMReplaced)
		})
	}
}

func TestState_TracksAnAbsentTPMUntilItReturns(t *testing.T) {
	swtpm := parts.StartSwtpm(t)
	chip := open(t, swtpm.Address())
	_, signer := importKey(t, chip, hal.ECDSAP256)
	if err := swtpm.Stop(); err != nil {
		t.Fatal(err)
	}
	wantFault(t, sign(signer), hal.TPMAbsent)
	if state := chip.State(t.Context()); state != hal.TPMAbsent {
		t.Errorf("got state %s, want absent", state)
	}
	_, err := chip.Capabilities(t.Context())
	wantFault(t, err, hal.TPMAbsent)
	if err := swtpm.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { return sign(signer) })
}

func TestNew_AcceptsAMissingTPM(t *testing.T) {
	for name, address := range map[string]string{
		"device":      filepath.Join(t.TempDir(), "tpmrm0"),
		"unix socket": "unix:" + filepath.Join(os.TempDir(), "no-such-tpm"),
	} {
		t.Run(name, func(t *testing.T) {
			chip := open(t, address)
			if state := chip.State(t.Context()); state != hal.TPMAbsent {
				t.Errorf("got state %s, want absent", state)
			}
			_, err := chip.ImportKey(t.Context(), privateKeys()[hal.ECDSAP256])
			wantFault(t, err, hal.TPMAbsent)
		})
	}
}

// loadForeignKey returns a signer over chip for a key of another TPM.
func loadForeignKey(t *testing.T, chip *tpm.TPM) crypto.Signer {
	t.Helper()
	obj, _ := importKey(t, open(t, parts.StartSwtpm(t).Address()), hal.ECDSAP256)
	signer, err := chip.LoadKey(obj)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func TestSign_TimesOutOnASilentSocket(t *testing.T) {
	const timeout = 1500 * time.Millisecond
	address := serve(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	chip := open(t, address, tpm.WithTimeout(timeout))
	signer := loadForeignKey(t, chip)
	start := time.Now()
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			err := sign(signer)
			if fault, ok := errors.AsType[*hal.TPMFault](err); !ok || fault.State != hal.TPMFailed {
				t.Errorf("got error %v, want a TPM fault in state failed", err)
			}
		})
	}
	all.Wait()
	if took := time.Since(start); took > 5*timeout {
		t.Errorf("20 signers: got errors after %s, want at most %s", took, 5*timeout)
	}
}

func TestTPM_ReturnsWhenTheContextEnds(t *testing.T) {
	address := serve(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	chip := open(t, address, tpm.WithTimeout(20*time.Second))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	for name, call := range map[string]func() error{
		"import":  func() error { _, err := chip.ImportKey(ctx, privateKeys()[hal.ECDSAP256]); return err },
		"seal":    func() error { _, err := chip.Seal(ctx, []byte("x")); return err },
		"queuing": func() error { _, err := chip.Capabilities(ctx); return err },
	} {
		if err := call(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: got error %v, want the context's", name, err)
		}
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("got errors after %s, want at most 10s", took)
	}
}

func TestTPM_CompletesAnAbandonedOperation(t *testing.T) {
	swtpm := parts.StartSwtpm(t)
	received, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	chip := open(t, interpose(t, swtpm, func(sent, response []byte) []byte {
		if tpm2.TPMCC(binary.BigEndian.Uint32(sent[6:10])) == tpm2.TPMCCImport {
			once.Do(func() {
				close(received)
				<-release
			})
		}
		return response
	}))
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-received
		cancel()
	}()
	if _, err := chip.ImportKey(ctx, privateKeys()[hal.ECDSAP256]); !errors.Is(err, context.Canceled) {
		t.Fatalf("got error %v, want the context's", err)
	}
	close(release)
	_, signer := importKey(t, chip, hal.ECDSAP256)
	if err := sign(signer); err != nil {
		t.Error(err)
	}
}

func TestTPM_ReportsInvalidResponsesAsFaults(t *testing.T) {
	// The seed is fixed, so that a failure can be reproduced.
	random := rand.New(rand.NewChaCha8([32]byte{1}))
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		return b
	}
	framed := func(code uint32, body []byte) []byte {
		b := []byte{0x80, 0x01}
		b = binary.BigEndian.AppendUint32(b, uint32(10+len(body)))
		b = binary.BigEndian.AppendUint32(b, code)
		return append(b, body...)
	}
	responses := map[string][]byte{
		"a huge length":          {0x80, 1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0},
		"a length of zero":       {0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0},
		"success without a body": framed(0, nil),
		"an unknown code":        framed(0xffffffff, nil),
		"noise as a response":    framed(0, noise(200)),
		"short noise":            framed(0, noise(3)),
		"noise without header":   noise(4096),
	}
	for name, response := range responses {
		t.Run(name, func(t *testing.T) {
			address := serve(t, func(conn net.Conn) {
				for {
					if _, err := readMessage(conn); err != nil {
						return
					}
					if _, err := conn.Write(response); err != nil {
						return
					}
				}
			})
			chip := open(t, address, tpm.WithTimeout(2*time.Second))
			if err := sign(loadForeignKey(t, chip)); err == nil {
				t.Error("sign: got no error, want one")
			}
			if _, err := chip.Capabilities(t.Context()); err == nil {
				t.Error("Capabilities: got no error, want one")
			}
			if state := chip.State(t.Context()); state == hal.TPMReady {
				t.Error("got state ready")
			}
		})
	}
}

func TestSign_RejectsATamperedResponse(t *testing.T) {
	swtpm := parts.StartSwtpm(t)
	first := open(t, swtpm.Address())
	obj, _ := importKey(t, first, hal.RSA2048)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	chip := open(t, interpose(t, swtpm, func(sent, response []byte) []byte {
		if tpm2.TPMCC(binary.BigEndian.Uint32(sent[6:10])) == tpm2.TPMCCRSADecrypt {
			response[40] ^= 1
		}
		return response
	}))
	signer, err := chip.LoadKey(obj)
	if err != nil {
		t.Fatal(err)
	}
	wantFault(t, sign(signer), hal.TPMFailed)
}

func TestClose_MakesLaterCallsFail(t *testing.T) {
	chip := open(t, parts.StartSwtpm(t).Address())
	_, signer := importKey(t, chip, hal.ECDSAP256)
	if err := chip.Close(); err != nil {
		t.Fatal(err)
	}
	if err := sign(signer); err == nil {
		t.Error("sign: got no error, want one")
	}
	if err := chip.Close(); err != nil {
		t.Error(err)
	}
}
