package wire

import "testing"

func TestHostname_IsValidInEHLO(t *testing.T) {
	for name, want := range map[string]string{
		"relay": "relay", "relay.contoso.com": "relay.contoso.com", "relay.": "relay", "my_relay": "my-relay",
		"Büro-Relay": "b-ro-relay", "RELAY": "relay", "_": "", "": "",
	} {
		if got, err := hostname(name); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v, want %q", name, got, err, want)
		}
	}
}
