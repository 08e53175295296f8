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
		t.Errorf("verifying the self-signature: %v", err)
	}
	second := must(OwnApplication(ctx, store, nil, rsaInFile, "other.contoso.com"))
	if !second.Certificate.Equal(first.Certificate) {
		t.Error("got a new certificate on the second call, want the first")
	}
	renewed := must(RenewApplication(ctx, store, nil, rsaInFile, "relay.contoso.com"))
	if renewed.Certificate.Equal(first.Certificate) || !must(OwnApplication(ctx, store, nil, rsaInFile, "")).Certificate.Equal(renewed.Certificate) {
		t.Error("the renewed certificate is not new, or is not stored")
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
		t.Error("got two certificates from concurrent calls, want the one stored first")
	}
}

func TestApplication_IsNotReplacedWhenDamaged(t *testing.T) {
	ctx, store := context.Background(), &memory{}
	application := must(OwnApplication(ctx, store, nil, rsaInFile, "relay.contoso.com"))
	application.Key = must(rsaInFile(ctx))
	if _, err := application.Signer(nil); fault.CodeOf(err) != fault.ApplicationDamaged {
		t.Errorf("the key of another certificate: got %v, want %s", err, fault.ApplicationDamaged)
	}
	for _, text := range []string{"{", "{}", `{"certificate":"AAAA"}`} {
		store.sections = state.Sections{sectionApplication: []byte(text)}
		if _, err := OwnApplication(ctx, store, nil, rsaInFile, ""); fault.CodeOf(err) != fault.ApplicationDamaged {
			t.Errorf("%s: got %v, want %s", text, err, fault.ApplicationDamaged)
		}
	}
}
