package wire

import (
	"encoding/pem"
	"strings"
	"testing"

	"sealpost/hal/fault"
	"sealpost/provisioning/settings"
)

func TestCheckRequest_RejectsWhatCannotSucceedAndFindsForeignNames(t *testing.T) {
	const (
		connector  = "[senders]\naccepted_domains = [\"contoso.com\"]\n"
		inFile     = connector + "[keys]\nprotection = \"file\"\n"
		submission = "[upstream]\nmethod = \"submission\"\n[upstream.submission]\nuser = \"a@contoso.com\"\n[upstream.oauth]\nclient_id = \"8b2f1c6e-0d3a-4a55-9b1f-2f0c7f1f9a10\"\n"
	)
	for _, c := range []struct {
		names, settings string
		foreign         bool
		code            fault.Code
		text            string // of the error
	}{
		{"relay.contoso.com", connector, false, "", ""},
		{"Relay.Contoso.COM", connector, false, "", ""},
		{"relay.fabrikam.com", connector, true, "", ""},
		{"relay.fabrikam.com,*.contoso.com", connector, false, "", ""},
		{"relay.fabrikam.com", submission, false, "", ""},
		{"not a name", connector, false, "", "cannot be the name in a certificate"},
		{"relay.contoso.com", inFile, false, fault.RequestNeedsTPM, "import a PFX"},
	} {
		s, err := settings.Parse([]byte(c.settings))
		if err != nil {
			t.Fatal(err)
		}
		foreign, err := CheckRequest(s, strings.Split(c.names, ","))
		failed := err != nil && strings.Contains(err.Error(), c.text)
		if foreign != c.foreign || fault.CodeOf(err) != c.code || failed != (c.text != "") {
			t.Errorf("%s: foreign %v, %v", c.names, foreign, err)
		}
	}
}

func TestCAPool_ReportsTheFaultOfARoot(t *testing.T) {
	broken := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}}))
	for text, want := range map[string]string{
		broken:                                 "upstream.connector.ca: certificate 1 in the file cannot be read: get it again from the certification authority (x509: ",
		"-----BEGIN X-----\n-----END X-----\n": "upstream.connector.ca: the file contains no PEM certificate: ask",
	} {
		if _, err := CAPool("upstream.connector", settings.Roots{CA: settings.PEM(text)}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
