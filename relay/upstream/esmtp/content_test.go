package esmtp

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"

	"sealpost/relay/envelope"
)

func TestRecode_FitsTheServer(t *testing.T) {
	long := strings.Repeat("x", 1200) + "\r\n"
	for _, c := range []struct {
		name, extensions, body    string
		eightBit, longLines, same bool
		mail                      string
	}{
		{"8BITMIME", "8BITMIME", "ü\r\n", true, false, true, "MAIL FROM:<a@contoso.com> BODY=8BITMIME"},
		{"no 8BITMIME", "NONE", "ü\r\n", true, false, false, "MAIL FROM:<a@contoso.com>"},
		{"no 8BITMIME, seven bits after all", "NONE", "u\r\n", true, true, true, "MAIL FROM:<a@contoso.com>"},
		{"long lines", "8BITMIME", long, false, true, false, "MAIL FROM:<a@contoso.com>"},
		{"long lines not announced", "8BITMIME", long, false, false, true, "MAIL FROM:<a@contoso.com>"},
	} {
		client, s := connect(t, c.extensions, "250 ok", "250 ok")
		message := content("Subject: s\r\n\r\n" + c.body)
		e := envelope.Envelope{Sender: "a@contoso.com", Recipients: []envelope.Address{"b@x.example"}, Size: message.Size(), EightBit: c.eightBit, LongLines: c.longLines}
		offered, recoded := client.Recode(t.Context(), e, message)
		text, err := io.ReadAll(recoded.Open())
		if err != nil || offered.Size != int64(len(text)) || (string(text) == string(message)) != c.same {
			t.Errorf("%s: got %q of size %d, %v", c.name, text, offered.Size, err)
		}
		if _, _, err := client.Offer(t.Context(), offered); err != nil {
			t.Fatal(err)
		}
		if want := []string{c.mail, "RCPT TO:<b@x.example>"}; !slices.Equal(s.lines(client), want) {
			t.Errorf("%s: got %q at the server, want %q", c.name, s.received, want)
		}
	}
}

func TestRecode_EndsWithItsContext(t *testing.T) {
	client, _ := connect(t, "NONE")
	defer client.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	message := content("Subject: s\r\n\r\nü\r\n")
	_, recoded := client.Recode(ctx, envelope.Envelope{Size: message.Size(), EightBit: true}, message)
	if text, err := io.ReadAll(recoded.Open()); err != nil || string(text) != string(message) {
		t.Errorf("got %q, %v, want the message as it is", text, err)
	}
}
