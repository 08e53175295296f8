package certificate

import "testing"

func TestUTF8_ReadsWhatWindowsWrites(t *testing.T) {
	for given, want := range map[string]string{
		"plain":                       "plain",
		"\xef\xbb\xbf-----BEGIN":      "-----BEGIN",
		"a\r\n\xef\xbb\xbf-----BEGIN": "a\r\n-----BEGIN",
		"\xff\xfe-\x00B\x00\xfc\x00":  "-Bü",
		"\xfe\xff\x00-\x00B\x00\xfc":  "-Bü",
		"\xff\xfe-\x00B":              "-",
		"":                            "",
	} {
		if got := string(UTF8([]byte(given))); got != want {
			t.Errorf("%q: got %q, want %q", given, got, want)
		}
	}
}
