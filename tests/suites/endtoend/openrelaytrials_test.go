package endtoend

import (
	"encoding/base64"
	"strings"
)

// recipientTrials try to reach a foreign recipient by the address in RCPT.
func recipientTrials() (all []trial) {
	long := strings.Repeat("a", 70000)
	for _, c := range []struct{ name, path, want string }{
		{"own recipient", "<alice@contoso.com>", delivered},
		{"own recipient in upper case", "<ALICE@CONTOSO.COM>", delivered},
		{"own domain with a trailing dot", "<alice@contoso.com.>", delivered},
		{"foreign recipient", "<" + victim + ">", refused},
		{"foreign domain with a trailing dot", "<" + victim + ".>", refused},
		{"foreign domain in upper case", "<VICTIM@FABRIKAM.EXAMPLE>", refused},
		{"percent hack", "<victim%fabrikam.example@contoso.com>", refused},
		{"percent hack, twice", "<victim%fabrikam.example%contoso.com@contoso.com>", refused},
		{"percent hack in quotes", `<"victim%fabrikam.example"@contoso.com>`, refused},
		{"percent hack in the domain", "<victim@fabrikam.example%contoso.com>", refused},
		{"percent hack at an IP literal", "<victim%fabrikam.example@[127.0.0.1]>", refused},
		{"bang path", "<fabrikam.example!victim@contoso.com>", refused},
		{"bang path in quotes", `<"fabrikam.example!victim"@contoso.com>`, refused},
		{"bang path after the domain", "<victim@fabrikam.example!contoso.com>", refused},
		{"bang path without a domain", "<contoso.com!fabrikam.example!victim>", refused},
		{"@ in quotes", `<"victim@fabrikam.example"@contoso.com>`, refused},
		{"escaped @ in quotes", `<"victim\@fabrikam.example"@contoso.com>`, refused},
		{"escaped @ without quotes", `<victim\@fabrikam.example@contoso.com>`, refused},
		{"whole path in quotes", `<"<victim@fabrikam.example>"@contoso.com>`, refused},
		{"bracket in quotes", `<"a>"victim@fabrikam.example>`, refused},
		{"source route over the own domain", "<@contoso.com:victim@fabrikam.example>", refused},
		{"source route of two hops", "<@contoso.com,@contoso.com:victim@fabrikam.example>", refused},
		{"source route in quotes", `<"@fabrikam.example:alice"@contoso.com>`, refused},
		{"source route of quotes", `<"@contoso.com:victim"@fabrikam.example>`, refused},
		{"route with a colon", "<fabrikam.example:victim@contoso.com>", refused},
		{"encapsulated address", "<IMCEASMTP-victim+40fabrikam+2Eexample@contoso.com>", refused},
		{"encapsulated address in lower case", "<imceasmtp-victim+40fabrikam+2Eexample@contoso.com>", refused},
		{"encapsulated address of another kind", "<IMCEAX400-c=de+3Ba=+20+3Bs=victim@contoso.com>", refused},
		{"two @", "<victim@fabrikam.example@contoso.com>", refused},
		{"two @, the own domain first", "<victim@contoso.com@fabrikam.example>", refused},
		{"IPv4 literal", "<victim@[192.0.2.1]>", refused},
		{"literal of the relay", "<victim@[127.0.0.1]>", refused},
		{"IPv6 literal", "<victim@[IPv6:2001:db8::1]>", refused},
		{"IPv4 in an IPv6 literal", "<victim@[IPv6:::ffff:192.0.2.1]>", refused},
		{"literal without an end", "<victim@[127.0.0.1>", refused},
		{"name in a literal", "<victim@[fabrikam.example]>", refused},
		{"number for a domain", "<victim@3221225985>", refused},
		{"localhost", "<victim@localhost>", refused},
		{"name of the box", "<victim@relay.contoso.com>", refused},
		{"empty domain", "<victim@>", refused},
		{"no domain", "<victim>", refused},
		{"empty local part", "<@contoso.com>", refused},
		{"nothing", "<>", refused},
		{"only an @", "<@>", refused},
		{"subdomain of the own domain", "<victim@x.contoso.com>", refused},
		{"own domain as a subdomain", "<victim@contoso.com.fabrikam.example>", refused},
		{"own domain as an ending", "<victim@notcontoso.com>", refused},
		{"very long local part", "<" + long[:65] + "@contoso.com>", refused},
		{"very long domain", "<alice@" + long[:300] + ".contoso.com>", refused},
		{"line over the limit", "<" + long + "@contoso.com>", refused},
		{"NUL before the @", "<alice\x00@contoso.com>", refused},
		{"NUL after a foreign domain", "<victim@fabrikam.example\x00@contoso.com>", refused},
		{"NUL after the own domain", "<victim@contoso.com\x00.fabrikam.example>", refused},
		{"CR after a foreign domain", "<victim@fabrikam.example\r@contoso.com>", refused},
		{"tab", "<victim@fabrikam.example\t@contoso.com>", refused},
		{"DEL", "<alice\x7f@contoso.com>", refused},
		{"backspaces", "<victim@fabrikam.example\b\b\b@contoso.com>", refused},
		{"8-bit octet", "<al\xefce@contoso.com>", refused},
		{"fullwidth @", "<victim\uff20fabrikam.example@contoso.com>", refused},
		{"fullwidth dot", "<victim@fabrikam\u3002example@contoso.com>", refused},
		{"domain in UTF-8", "<alice@c\u00f6ntoso.com>", refused},
		{"homograph of the own domain", "<alice@c\u043entoso.com>", refused},
		{"comment in the local part", "<victim(@fabrikam.example)@contoso.com>", refused},
		{"comment after the domain", "<victim@fabrikam.example(@contoso.com)>", refused},
		{"comment before the address", "<(@contoso.com)victim@fabrikam.example>", refused},
		{"nested brackets", "<<victim@fabrikam.example>>", refused},
		{"nested brackets, own outside", "<alice@contoso.com<victim@fabrikam.example>>", refused},
		{"brackets in a row", "<alice@contoso.com><victim@fabrikam.example>", delivered},
		{"two paths", "<alice@contoso.com> <victim@fabrikam.example>", delivered},
		{"two paths with a comma", "<alice@contoso.com>,<victim@fabrikam.example>", delivered},
		{"list in brackets", "<alice@contoso.com,victim@fabrikam.example>", refused},
		{"list with a semicolon", "<alice@contoso.com;victim@fabrikam.example>", refused},
		{"list without brackets", "alice@contoso.com victim@fabrikam.example", delivered},
		{"display name", `"alice@contoso.com" <victim@fabrikam.example>`, refused},
		{"bracket without an end", "<victim@fabrikam.example", refused},
		{"bracket without a beginning", "victim@fabrikam.example>", refused},
		{"foreign ORCPT", "<alice@contoso.com> ORCPT=rfc822;victim@fabrikam.example", delivered},
		{"foreign ORCPT and notifications", "<alice@contoso.com> NOTIFY=SUCCESS ORCPT=rfc822;victim+40fabrikam.example", delivered},
		{"ORCPT with an injection", "<alice@contoso.com> ORCPT=rfc822;a+0D+0ARCPT+20TO:+3Cvictim+40fabrikam.example+3E", delivered},
	} {
		all = append(all, trial{name: "to: " + c.name, want: c.want, steps: []string{
			"EHLO client", "MAIL FROM:<" + ownSender + ">", "RCPT TO:" + c.path, "DATA", content + "From: " + ownSender + "\r\n",
		}})
	}
	return all
}

// senderTrials try to send as another sender by the address in MAIL.
func senderTrials() (all []trial) {
	for _, c := range []struct{ name, argument, want string }{
		{"foreign sender", "<victim@fabrikam.example>", delivered},
		{"another sender of the own domain", "<boss@contoso.com>", delivered},
		{"null sender", "<>", delivered},
		{"source route over the own sender", "<@contoso.com:boss@contoso.com>", delivered},
		{"own sender in upper case", "<SCAN@CONTOSO.COM>", delivered},
		{"percent hack", "<boss%contoso.com@contoso.com>", delivered},
		{"own sender in quotes", `<"scan"@contoso.com>`, delivered},
		{"@ in quotes", `<"scan@contoso.com"@fabrikam.example>`, refused},
		{"AUTH= of another", "<scan@contoso.com> AUTH=boss@contoso.com", delivered},
		{"AUTH= of another, as xtext", "<scan@contoso.com> AUTH=boss+40contoso.com", delivered},
		{"SMTPUTF8", "<v\u00efctim@fabrikam.example> SMTPUTF8", refused},
		{"SMTPUTF8 and the own sender", "<scan@contoso.com> SMTPUTF8", refused},
		{"two senders", "<scan@contoso.com> <boss@contoso.com>", delivered},
		{"NUL", "<scan@contoso.com\x00boss@contoso.com>", refused},
		{"tag", "<scan+boss@contoso.com>", delivered},
	} {
		all = append(all, trial{name: "from: " + c.name, want: c.want, steps: []string{
			"EHLO client", "MAIL FROM:" + c.argument, "RCPT TO:<" + ownRecipient + ">", "DATA", content + "From: " + ownSender + "\r\n",
		}})
	}
	return all
}

// sessionTrials try to reach a foreign recipient by another state of the session.
func sessionTrials() []trial {
	login := func(user string) string {
		return "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password))
	}
	mailFrom, toVictim, toOwn := "MAIL FROM:<"+ownSender+">", "RCPT TO:<"+victim+">", "RCPT TO:<"+ownRecipient+">"
	relay := []string{mailFrom, toVictim, "DATA", content}
	after := func(first ...string) []string { return append(first, relay...) }
	const wholeMessage = "\r\nDATA\r\nSubject: MARKER\r\n\r\nMARKER\r\n.\r\n"
	return []trial{
		{name: "EHLO of the box", steps: after("EHLO relay.contoso.com"), want: refused},
		{name: "EHLO of localhost", steps: after("EHLO localhost"), want: refused},
		{name: "EHLO of an IP literal", steps: after("EHLO [127.0.0.1]"), want: refused},
		{name: "HELO with an injection", steps: after("HELO x\r\x00 [127.0.0.1])"), want: refused},
		{name: "no EHLO", steps: relay, want: refused},
		{name: "LHLO", steps: after("LHLO client"), want: refused},
		{name: "XCLIENT", steps: after("EHLO client", "XCLIENT ADDR=127.0.0.1 NAME=localhost LOGIN=remote", "EHLO localhost"), want: refused},
		{name: "XFORWARD", steps: after("EHLO client", "XFORWARD ADDR=127.0.0.1 NAME=localhost PROTO=ESMTP"), want: refused},
		{name: "PROXY, version 1", first: "PROXY TCP4 127.0.0.1 127.0.0.1 40000 25\r\n", steps: after("EHLO client"), want: refused},
		{name: "PROXY, version 1, later", steps: after("PROXY TCP4 127.0.0.1 127.0.0.1 40000 25", "EHLO client"), want: refused},
		{name: "PROXY, version 2", first: "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x7f\x00\x00\x01\x7f\x00\x00\x01\x9c\x40\x00\x19", steps: after("EHLO client"), want: refused},
		{name: "SEND and SAML", steps: []string{"HELO client", "SAML FROM:<" + ownSender + ">", toVictim, "DATA", content}, want: refused},
		{name: "ETRN and TURN", steps: after("EHLO client", "ETRN fabrikam.example", "TURN"), want: refused},
		{name: "RSET before RCPT", steps: []string{"EHLO client", mailFrom, toOwn, "RSET", toVictim, "DATA", content}, want: refused},
		{name: "RSET and the recipient of before", steps: []string{"EHLO client", mailFrom, toOwn, "RSET", "DATA", content}, want: refused},
		{name: "EHLO before RCPT", steps: []string{"EHLO client", mailFrom, "EHLO client", toVictim, "DATA", content}, want: refused},
		{name: "MAIL again", steps: []string{"EHLO client", mailFrom, mailFrom, toVictim, "DATA", content}, want: refused},
		{name: "own and foreign recipient", steps: []string{"EHLO client", mailFrom, toOwn, toVictim, "DATA", content}, want: delivered},
		{name: "two RCPT in a line", steps: []string{"EHLO client", mailFrom, raw + toOwn + "\r" + toVictim + "\r\n", "DATA", content}, want: refused},
		{name: "two RCPT, bare LF", steps: []string{"EHLO client", raw + mailFrom + "\n" + toOwn + "\n" + toVictim + wholeMessage}, want: delivered},
		{name: "STARTTLS between", steps: []string{"EHLO client", mailFrom, toOwn, "STARTTLS", beginTLS, toVictim, "DATA", content}, want: refused},
		{name: "STARTTLS, no EHLO after it", steps: append([]string{"EHLO client", "STARTTLS", beginTLS}, relay...), want: refused},
		{name: "STARTTLS, the recipient of before", steps: []string{"EHLO client", mailFrom, toOwn, "STARTTLS", beginTLS, "DATA", content}, want: refused},
		{name: "commands behind STARTTLS", steps: []string{"EHLO client", raw + "STARTTLS\r\n" + mailFrom + "\r\n" + toOwn + wholeMessage}, want: refused},
		{name: "commands behind STARTTLS, then TLS", steps: append([]string{"EHLO client", raw + "STARTTLS\r\nEHLO client\r\n" + mailFrom + "\r\n", beginTLS}, relay...), want: refused},
		{name: "BDAT", steps: []string{"EHLO client", mailFrom, toVictim, raw + "BDAT 16 LAST\r\n12345678\r\n123456"}, want: refused},
		{name: "BDAT with a command for a chunk", steps: []string{"EHLO client", mailFrom, toVictim, raw + "BDAT 10 LAST\r\n" + toVictim + wholeMessage}, want: refused},
		{name: "BDAT, and RCPT between chunks", steps: []string{"EHLO client", mailFrom, toOwn, raw + "BDAT 4\r\na:b\n" + toVictim + "\r\nBDAT 4 LAST\r\nc:d\n"}, want: refused},
		{name: "DATA without recipients", steps: []string{"EHLO client", mailFrom, "DATA", content}, want: refused},
		{name: "login from outside its addresses", steps: after("EHLO client", login("elsewhere")), want: refused},
		{name: "login of an unknown user", steps: after("EHLO client", login("nobody")), want: refused},
		{name: "login of a user without these limits", steps: after("EHLO client", login("free")), want: refused},
		{name: "login of such a user as its boss", steps: []string{"EHLO client", login("free"), "MAIL FROM:<boss@contoso.com>", toOwn, "DATA", content + "From: boss@contoso.com\r\n"}, want: delivered},
		{name: "login as the external identity", steps: after("EHLO client", "AUTH EXTERNAL =", "AUTH ANONYMOUS"), want: refused},
		{name: "HTTP", first: "POST / HTTP/1.1\r\nHost: box\r\n\r\n", steps: after("EHLO client"), want: refused},
	}
}
