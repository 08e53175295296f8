package envelope

import (
	"reflect"
	"strings"
	"testing"
)

func TestDecodeXtext_AcceptsXtextOfPrintableASCII(t *testing.T) {
	for input, want := range map[string]string{
		"QQ314159": "QQ314159", "a+40b": "a@b", "Bob@Example.ORG": "Bob@Example.ORG", "+2B+3D": "+=", "a+20b": "a b",
		`\x{C4}@b`: `\x{C4}@b`, // RFC 6533 section 3
		"":         "", "+": "", "a+4": "", "a+4g": "", "a+4b": "", "a=b": "", "a b": "", "a\tb": "", "+0D+0A": "", "+00": "", "+C4": "", "ä": "", "+20": "",
	} {
		text, ok := DecodeXtext(input)
		if ok != (want != "") || ok && text != want {
			t.Errorf("%q: got %q, %v; want %q", input, text, ok, want)
		}
	}
}

func FuzzDecodeXtext(f *testing.F) {
	for _, seed := range []string{"QQ314159", "a+40b", "+0D+0A", "+", "a=b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		text, ok := DecodeXtext(s)
		if !ok {
			return
		}
		if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Errorf("DecodeXtext(%q): got no error, want one: the text may end a parameter", s)
		}
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%q: got %q, want printable ASCII", s, text)
		}
	})
}

func TestNotify_AsksForEvents(t *testing.T) {
	for n, want := range map[Notify]struct {
		text                    string
		success, failure, delay bool
		withoutSuccess          string
	}{
		0:                             {"", false, true, true, ""},
		NotifyNever:                   {"NEVER", false, false, false, "NEVER"},
		NotifySuccess:                 {"SUCCESS", true, false, false, "NEVER"},
		NotifyFailure:                 {"FAILURE", false, true, false, "FAILURE"},
		NotifyDelay:                   {"DELAY", false, false, true, "DELAY"},
		NotifySuccess | NotifyFailure: {"SUCCESS,FAILURE", true, true, false, "FAILURE"},
		NotifySuccess | NotifyFailure | NotifyDelay: {"SUCCESS,FAILURE,DELAY", true, true, true, "FAILURE,DELAY"},
	} {
		if n.String() != want.text || n.Of(NotifySuccess) != want.success || n.Of(NotifyFailure) != want.failure || n.Of(NotifyDelay) != want.delay {
			t.Errorf("got %q, success %v, failure %v, delay %v; want %+v", n, n.Of(NotifySuccess), n.Of(NotifyFailure), n.Of(NotifyDelay), want)
		}
		if got := n.WithoutSuccess().String(); got != want.withoutSuccess {
			t.Errorf("%q without success: got %q, want %q", n, got, want.withoutSuccess)
		}
	}
}

func TestEnvelope_KeepsParametersWithTheirRecipient(t *testing.T) {
	e := Envelope{Recipients: []Address{"a@x.example", "b@x.example", "c@x.example", "d@x.example"}}
	e.DSN.Set(0, RecipientDSN{})
	if e.DSN.Recipients != nil {
		t.Errorf("got %v for a recipient without parameters", e.DSN.Recipients)
	}
	e.DSN.Set(2, RecipientDSN{Notify: NotifyNever})
	if got := e.DSN.Of(3); got != (RecipientDSN{}) || e.DSN.Of(2).Notify != NotifyNever {
		t.Errorf("got %v", e.DSN)
	}
	got := e.To([]int{2, 3})
	if want := (DSN{Recipients: []RecipientDSN{{Notify: NotifyNever}}}); !reflect.DeepEqual(got.DSN, want) || !reflect.DeepEqual(got.Recipients, []Address{"c@x.example", "d@x.example"}) {
		t.Errorf("got %+v", got)
	}
	if got := e.To([]int{0, 3}); got.DSN.Recipients != nil || len(e.Recipients) != 4 {
		t.Errorf("got %+v", got)
	}
	e.DSN.Set(1, RecipientDSN{Notify: NotifySuccess})
	if without := e.DSN.WithoutSuccess(); without.Of(1).Notify != NotifyNever || e.DSN.Of(1).Notify != NotifySuccess {
		t.Errorf("got %v, and the original became %v", without, e.DSN)
	}
}
