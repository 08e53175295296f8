package keyring_test

import (
	"encoding/json"
	"testing"

	"sealpost/hal/linux/tpm"
	"sealpost/provisioning/keyring"
)

func FuzzStoredKey(f *testing.F) {
	inFile, err := keyring.ProtectInFile(p256(), binding)
	if err != nil {
		f.Fatal(err)
	}
	secret := keyring.SecretInFile("token", []byte("x"))
	for _, seed := range []any{inFile, secret,
		keyring.Key{Protection: keyring.TPMSealed, Public: []byte{0x30, 0}, Box: make([]byte, 40)},
		keyring.Key{Protection: keyring.TPMResident},
	} {
		text, err := json.Marshal(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	absent, err := tpm.New("/nowhere")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var key keyring.Key
		if json.Unmarshal(text, &key) == nil {
			signer, err := keyring.Open(absent, key, binding)
			if (signer == nil) == (err == nil) {
				t.Errorf("signer %v, error %v", signer, err)
			}
			if err == nil && key.Protection != keyring.File && signError(signer) == nil {
				t.Error("got a signature without a TPM")
			}
		}
		var secret keyring.Secret
		if json.Unmarshal(text, &secret) == nil {
			_, err := keyring.OpenSecret(t.Context(), absent, "token", secret)
			if err == nil && secret.Protection != keyring.File {
				t.Error("opened a secret without a TPM")
			}
		}
	})
}
