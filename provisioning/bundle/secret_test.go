package bundle

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"
)

func TestRead_ReadsTheClientSecretFromTheFirstLine(t *testing.T) {
	first, err := Read(fstest.MapFS{"sealpost/sealpost.toml": content(good), "sealpost/Secret.txt": content("\ufeffs~1\r\nnot this")}, serial)
	if err != nil || first.ClientSecret != "s~1" || len(first.Files()) != 2 {
		t.Errorf("read %q from %v, %v", string(first.ClientSecret), first.Files(), err)
	}
	alone, err := Read(fstest.MapFS{"sealpost/secret.txt": content("s~2")}, serial)
	if err != nil || alone.ClientSecret != "s~2" {
		t.Errorf("without settings: got %q, %v, want s~2", alone.ClientSecret, err)
	}
	another, err := Read(fstest.MapFS{"sealpost/sealpost.toml": content(good), "sealpost/secret.txt": content("s~3")}, serial)
	if err != nil || another.Origin == first.Origin {
		t.Errorf("a stick with another secret has the same origin, or %v", err)
	}
}

func TestBundle_ExplainsFaultsOfTheSecretFile(t *testing.T) {
	for text, want := range map[string]string{"": "it is empty", "\n": "its first line is empty", "\xff\xfes\x00": "UTF-16"} {
		b, err := Read(fstest.MapFS{"sealpost/sealpost.toml": content(good), "sealpost/secret.txt": content(text)}, serial)
		if err := errors.Join(err, b.Check(acceptAnyPath)); err == nil || !strings.Contains(err.Error(), "sealpost/secret.txt") || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
