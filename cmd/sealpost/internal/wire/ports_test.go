package wire

import (
	"slices"
	"testing"

	"sealpost/provisioning/settings"
)

func TestPorts_AreThoseOfTheSettings(t *testing.T) {
	const connector = "[senders]\naccepted_domains = [\"contoso.com\"]\n"
	for name, c := range map[string]struct {
		text            string
		listen, connect []uint16
	}{
		"connector": {connector, []uint16{25, 587, 465}, []uint16{25, 587, 25, 53}},
		"other ports": {connector + "[lan]\nsmtp = [\"192.168.1.5:2525\", \"[::1]:2526\"]\nsmtps = []\n[upstream]\ndns = [\"10.0.0.1:5353\", \"[fd00::1]:53\"]\n[upstream.connector]\nport = 26\n",
			[]uint16{2525, 2526}, []uint16{2525, 2526, 26, 5353, 53}},
		"a software TPM": {connector + "[keys]\ntpm = \"tcp:localhost:2321\"\n", []uint16{25, 587, 465}, []uint16{25, 587, 25, 53, 2321}},
		"submission": {"[upstream]\nmethod = \"submission\"\n[upstream.submission]\nuser = \"printer@contoso.com\"\n[upstream.oauth]\nclient_id = \"11111111-2222-3333-4444-555555555555\"\n",
			[]uint16{25, 587, 465}, []uint16{25, 587, 587, 443, 53}},
		"another issuer": {"[lan]\nsmtp = []\n[upstream]\nmethod = \"submission\"\n[upstream.submission]\nuser = \"printer@contoso.com\"\nport = 465\n[upstream.oauth]\nclient_id = \"app\"\ntoken_url = \"https://login.contoso.com:8443/token\"\n",
			[]uint16{465}, []uint16{465, 8443, 53}},
	} {
		s, err := settings.Parse([]byte(c.text))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		listen, connect := (&Box{Settings: s}).ports()
		if !slices.Equal(listen, c.listen) || !slices.Equal(connect, c.connect) {
			t.Errorf("%s: got ports %v to listen on and %v to connect to, want %v and %v", name, listen, connect, c.listen, c.connect)
		}
	}
}
