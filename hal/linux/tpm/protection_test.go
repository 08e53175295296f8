//go:build !quick

package tpm_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"

	"sealpost/hal"
	"sealpost/tests/rigs/parts"
)

// raw opens a second client of a software TPM; the first must be closed.
func raw(t *testing.T, swtpm *parts.Swtpm) transport.TPMCloser {
	t.Helper()
	conn, err := linuxudstpm.Open(strings.TrimPrefix(swtpm.Address(), "unix:"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

const rootHandle = tpm2.TPMHandle(0x81000001)

func loadRaw(t *testing.T, conn transport.TPM, obj hal.TPMObject) tpm2.AuthHandle {
	t.Helper()
	root, err := tpm2.ReadPublic{ObjectHandle: rootHandle}.Execute(conn)
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := tpm2.Load{
		ParentHandle: tpm2.AuthHandle{Handle: rootHandle, Name: root.Name, Auth: tpm2.PasswordAuth(nil)},
		InPublic:     tpm2.BytesAs2B[tpm2.TPMTPublic](obj.Public[2:]),
		InPrivate:    tpm2.TPM2BPrivate{Buffer: obj.Private[2:]},
	}.Execute(conn)
	if err != nil {
		t.Fatal(err)
	}
	return tpm2.AuthHandle{Handle: loaded.ObjectHandle, Name: loaded.Name, Auth: tpm2.PasswordAuth(nil)}
}

func TestTPM_RefusesToExportKeys(t *testing.T) {
	swtpm := parts.StartSwtpm(t)
	chip := open(t, swtpm.Address())
	imported, _ := importKey(t, chip, hal.ECDSAP256)
	created, err := chip.CreateKey(t.Context(), hal.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	if err := chip.Close(); err != nil {
		t.Fatal(err)
	}
	conn := raw(t, swtpm)
	for name, obj := range map[string]hal.TPMObject{"imported": imported, "created": created} {
		t.Run(name, func(t *testing.T) {
			key := loadRaw(t, conn, obj)
			defer tpm2.FlushContext{FlushHandle: key.Handle}.Execute(conn)
			// Duplicate needs a policy session; the empty policy satisfies none.
			for kind, auth := range map[string]tpm2.Session{
				"password": tpm2.PasswordAuth(nil),
				"policy":   tpm2.Policy(tpm2.TPMAlgSHA256, 16, dupPolicy),
			} {
				key.Auth = auth
				_, err := tpm2.Duplicate{
					ObjectHandle: key, NewParentHandle: tpm2.TPMRHNull,
					Symmetric: tpm2.TPMTSymDef{Algorithm: tpm2.TPMAlgNull},
				}.Execute(conn)
				var code tpm2.TPMRC
				if !errors.As(err, &code) {
					t.Errorf("%s: got %v, want an error of the TPM", kind, err)
				}
			}
			if _, err := (tpm2.Unseal{ItemHandle: key}).Execute(conn); err == nil {
				t.Error("Unseal returned data")
			}
		})
	}
}

func dupPolicy(conn transport.TPM, session tpm2.TPMISHPolicy, _ tpm2.TPM2BNonce) error {
	_, err := tpm2.PolicyCommandCode{PolicySession: session, Code: tpm2.TPMCCDuplicate}.Execute(conn)
	return err
}

func TestTPM_EncryptsKeysAndSecretsInTransit(t *testing.T) {
	swtpm := parts.StartSwtpm(t)
	tap, seen := wiretap(t, swtpm)
	chip := open(t, tap)
	secret := []byte("a secret of thirty-two bytes....")
	obj, err := chip.Seal(t.Context(), secret)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := chip.Unseal(t.Context(), obj); err != nil || !bytes.Equal(got, secret) {
		t.Fatalf("unsealing: %q, %v", got, err)
	}
	_, signer := importKey(t, chip, hal.ECDSAP256)
	if err := sign(signer); err != nil {
		t.Fatal(err)
	}
	scalar, err := privateKeys()[hal.ECDSAP256].(*ecdsa.PrivateKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if err := chip.Close(); err != nil {
		t.Fatal(err)
	}
	bus := seen()
	// The public part must be found, or the wiretap recorded nothing.
	if !bytes.Contains(bus, obj.Public[2:]) {
		t.Error("the wiretap did not record the object's public part")
	}
	// The keys of an unsalted session can be derived from the traffic on the bus.
	start := []byte{0, 0, 0x01, 0x76} // TPM_CC_StartAuthSession
	sessions, salted := bytes.Count(bus, start), bytes.Count(bus, append(start, 0x81, 0, 0, 1))
	if sessions == 0 || salted != sessions {
		t.Errorf("%d of %d sessions are salted with the storage root key", salted, sessions)
	}
	for name, clear := range map[string][]byte{"sealed secret": secret, "private key": scalar} {
		if bytes.Contains(bus, clear) {
			t.Errorf("the %s was on the bus", name)
		}
	}
}

func TestTPM_DetectsAnInterposerWithAnotherRoot(t *testing.T) {
	swtpm, other := parts.StartSwtpm(t), parts.StartSwtpm(t)
	obj, signer := importKey(t, open(t, swtpm.Address()), hal.ECDSAP256)
	if err := sign(signer); err != nil {
		t.Fatal(err)
	}
	otherChip := open(t, other.Address())
	foreign, _ := importKey(t, otherChip, hal.ECDSAP256)
	if err := otherChip.Close(); err != nil {
		t.Fatal(err)
	}
	// The other TPM claims to have the first one's root key.
	interposed := substitute(t, other, foreign.Root, obj.Root)
	impostor, err := open(t, interposed).LoadKey(obj)
	if err != nil {
		t.Fatal(err)
	}
	wantFault(t, sign(impostor), hal.TPMFailed)
}

func TestTPM_UsesItsOwnKeysDuringLockout(t *testing.T) {
	swtpm := parts.StartSwtpm(t)
	chip := open(t, swtpm.Address())
	ours, _ := importKey(t, chip, hal.ECDSAP256)
	if err := chip.Close(); err != nil {
		t.Fatal(err)
	}
	lockedObject := lockOut(t, raw(t, swtpm))
	lockedObject.Root = ours.Root

	chip = open(t, swtpm.Address())
	_, err := chip.Unseal(t.Context(), lockedObject)
	wantFault(t, err, hal.TPMLockedOut)
	signer, err := chip.LoadKey(ours)
	if err != nil {
		t.Fatal(err)
	}
	if err := sign(signer); err != nil {
		t.Errorf("our key has NoDA and must sign in lockout: %v", err)
	}
}

// lockOut creates an object with dictionary attack protection, and fails to authorise
// until the TPM is in lockout.
func lockOut(t *testing.T, conn transport.TPMCloser) hal.TPMObject {
	t.Helper()
	defer conn.Close()
	root, err := tpm2.ReadPublic{ObjectHandle: rootHandle}.Execute(conn)
	if err != nil {
		t.Fatal(err)
	}
	created, err := tpm2.Create{
		ParentHandle: tpm2.AuthHandle{Handle: rootHandle, Name: root.Name, Auth: tpm2.PasswordAuth(nil)},
		InSensitive: tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{
			UserAuth: tpm2.TPM2BAuth{Buffer: []byte("right")},
			Data:     tpm2.NewTPMUSensitiveCreate(&tpm2.TPM2BSensitiveData{Buffer: []byte("guarded")}),
		}},
		InPublic: tpm2.New2B(tpm2.TPMTPublic{
			Type: tpm2.TPMAlgKeyedHash, NameAlg: tpm2.TPMAlgSHA256,
			ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, UserWithAuth: true},
			Parameters:       tpm2.NewTPMUPublicParms(tpm2.TPMAlgKeyedHash, &tpm2.TPMSKeyedHashParms{}),
		}),
	}.Execute(conn)
	if err != nil {
		t.Fatal(err)
	}
	obj := hal.TPMObject{Public: tpm2.Marshal(created.OutPublic), Private: tpm2.Marshal(created.OutPrivate)}
	handle := loadRaw(t, conn, obj)
	handle.Auth = tpm2.PasswordAuth([]byte("wrong"))
	for range 100 {
		_, err := tpm2.Unseal{ItemHandle: handle}.Execute(conn)
		if errors.Is(err, tpm2.TPMRCLockout) {
			return obj
		}
	}
	t.Fatal("the TPM does not lock out")
	return obj
}

func TestTPM_EvictsObjectsOfACrashedProgram(t *testing.T) {
	swtpm := parts.StartSwtpm(t)
	chip := open(t, swtpm.Address())
	obj, _ := importKey(t, chip, hal.ECDSAP256)
	if err := chip.Close(); err != nil {
		t.Fatal(err)
	}
	crashed := raw(t, swtpm)
	for range 2 {
		loadRaw(t, crashed, obj)
	}
	if _, _, err := tpm2.HMACSession(crashed, tpm2.TPMAlgSHA256, 16); err != nil {
		t.Fatal(err)
	}
	chip = open(t, swtpm.Address())
	for _, keyType := range []hal.KeyType{hal.ECDSAP256, hal.ECDSAP384} {
		if _, signer := importKey(t, chip, keyType); sign(signer) != nil {
			t.Errorf("%s: signing: %v", keyType, sign(signer))
		}
	}
}

func TestImportKey_ExplainsATPMWithAnotherOwner(t *testing.T) {
	own := func(conn transport.TPM) error {
		_, err := tpm2.HierarchyChangeAuth{
			AuthHandle: tpm2.TPMRHOwner, NewAuth: tpm2.TPM2BAuth{Buffer: []byte("theirs")},
		}.Execute(conn)
		return err
	}
	occupy := func(conn transport.TPM) error {
		template := tpm2.ECCSRKTemplate
		template.ObjectAttributes.Restricted = false
		template.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{CurveID: tpm2.TPMECCNistP256})
		created, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(template)}.Execute(conn)
		if err != nil {
			return err
		}
		_, err = tpm2.EvictControl{
			Auth:             tpm2.TPMRHOwner,
			ObjectHandle:     tpm2.NamedHandle{Handle: created.ObjectHandle, Name: created.Name},
			PersistentHandle: rootHandle,
		}.Execute(conn)
		return err
	}
	for name, take := range map[string]func(transport.TPM) error{"owner password": own, "root handle": occupy} {
		t.Run(name, func(t *testing.T) {
			swtpm := parts.StartSwtpm(t)
			if err := take(raw(t, swtpm)); err != nil {
				t.Fatal(err)
			}
			_, err := open(t, swtpm.Address()).ImportKey(t.Context(), privateKeys()[hal.ECDSAP256])
			if err == nil || !strings.Contains(err.Error(), "clear the TPM") {
				t.Errorf("error %v does not say what to do", err)
			}
			if _, ok := errors.AsType[*hal.TPMFault](err); ok {
				t.Errorf("error %v calls the TPM faulty", err)
			}
		})
	}
}

func TestTPM_RefusesUnsupportedKeyTypes(t *testing.T) {
	chip := open(t, parts.StartSwtpm(t).Address())
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := chip.ImportKey(t.Context(), p521); err == nil || errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("importing P-521: got %v, want an error", err)
	}
	if _, err := chip.CreateKey(t.Context(), "P-521"); err == nil {
		t.Error("making P-521: no error")
	}
	_, signer := importKey(t, chip, hal.ECDSAP256)
	if _, err := chip.ImportKey(t.Context(), signer); err == nil {
		t.Error("importing a key that is in the TPM: no error")
	}
}

func TestSeal_RefusesSecretsOfTheWrongSize(t *testing.T) {
	chip := open(t, parts.StartSwtpm(t).Address())
	for size, fits := range map[int]bool{0: false, 1: true, 128: true, 129: false} {
		secret := bytes.Repeat([]byte{1}, size)
		obj, err := chip.Seal(t.Context(), secret)
		if (err == nil) != fits {
			t.Errorf("%d bytes: error %v", size, err)
		}
		if err != nil {
			continue
		}
		if got, err := chip.Unseal(t.Context(), obj); err != nil || !bytes.Equal(got, secret) {
			t.Errorf("%d bytes: got %x, error %v", size, got, err)
		}
	}
}
