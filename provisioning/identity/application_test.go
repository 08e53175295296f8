package identity

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"testing"

	"sealpost/hal/fault"
	"sealpost/provisioning/keyring"
	"sealpost/provisioning/state"
)

func rsaInFile(context.Context) (keyring.Key, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return keyring.Key{}, err
	}
	return keyring.ProtectInFile(key, nil)
}

func TestOwnApplication_StaysTheSameUntilRenewed(t *testing.T) {
	ctx, store := context.Background(), &memory{}
	first := must(OwnApplication(ctx, store, nil, rsaInFile, "relay.contoso.com"))
	if err := first.Certificate.CheckSignature(first.Certificate.SignatureAlgorithm, first.Certificate.RawTBSCertificate, first.Certificate.Signature); err != nil {
		t.Errorf("its own key did not sign it: %v", err)
	}
	again := must(OwnApplication(ctx, store, nil, rsaInFile, "other.contoso.com"))
	if !again.Certificate.Equal(first.Certificate) {
		t.Error("it changed by itself")
	}
	renewed := must(RenewApplication(ctx, store, nil, rsaInFile, "relay.contoso.com"))
	if renewed.Certificate.Equal(first.Certificate) || !must(OwnApplication(ctx, store, nil, rsaInFile, "")).Certificate.Equal(renewed.Certificate) {
		t.Error("it did not change when it was told to")
	}
}

func TestOwnApplication_KeepsOneOfTwoConcurrentKeys(t *testing.T) {
	ctx, store := context.Background(), &memory{}
	var first Application
	slow := func(ctx context.Context) (keyring.Key, error) {
		first = must(OwnApplication(ctx, store, nil, rsaInFile, "first"))
		return rsaInFile(ctx)
	}
	if second := must(OwnApplication(ctx, store, nil, slow, "second")); !second.Certificate.Equal(first.Certificate) {
		t.Error("the issuer may know the one, and the box signs by the other")
	}
}

func TestApplication_IsNotReplacedWhenDamaged(t *testing.T) {
	ctx, store := context.Background(), &memory{}
	own := must(OwnApplication(ctx, store, nil, rsaInFile, "relay.contoso.com"))
	own.Key = must(rsaInFile(ctx))
	if _, err := own.Signer(nil); fault.CodeOf(err) != fault.ApplicationDamaged {
		t.Errorf("another's key: got %v, want %s", err, fault.ApplicationDamaged)
	}
	for _, text := range []string{"{", "{}", `{"certificate":"AAAA"}`} {
		store.sections = state.Sections{sectionApplication: []byte(text)}
		if _, err := OwnApplication(ctx, store, nil, rsaInFile, ""); fault.CodeOf(err) != fault.ApplicationDamaged {
			t.Errorf("%s: got %v, want %s", text, err, fault.ApplicationDamaged)
		}
	}
}
