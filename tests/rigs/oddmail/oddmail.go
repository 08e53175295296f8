// Package oddmail has messages of the odd shapes that devices and old programs send.
//
// It knows what can be odd about a message. It must not know what is tested with it.
package oddmail

import "strings"

// Messages returns messages by a name for their shape, with LF for CRLF.
func Messages() map[string]string {
	const top = "From: a@contoso.com\nTo: b@example.org\nSubject: s\nDate: Fri, 27 Nov 2026 10:00:00 +0000\nMessage-ID: <1@contoso.com>\n"
	multipart := func(part string) string {
		return top + "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"b\"\n\npreamble\n--b\n" + part + "\n--b--\nepilogue\n"
	}
	words := strings.Repeat("word ", 400)
	messages := map[string]string{
		"plain":                     top + "\nhello\n",
		"8-bit text":                top + "Content-Type: text/plain; charset=utf-8\n\nGrüße\n",
		"8-bit subject":             strings.Replace(top, "Subject: s", "Subject: Grüße aus München", 1) + "\nx\n",
		"8-bit author":              strings.Replace(top, "a@", "Jörg <a@", 1) + "\nx\n",
		"8-bit without a type":      top + "\nna\xefve\n",
		"8-bit part":                multipart("Content-Type: text/plain\nContent-Transfer-Encoding: 8bit\n\nüüü"),
		"8-bit attachment":          multipart("Content-Type: application/pdf\nContent-Transfer-Encoding: binary\n\n%PDF\xff\xfe\x00"),
		"signed part, 8-bit":        multipart("Content-Type: multipart/signed; boundary=c\n\n--c\n\nü\n--c--"),
		"long line":                 top + "\n" + strings.Repeat("x", 5000) + "\n",
		"long lines of words":       top + "\n" + words + "\n" + words + "\n",
		"long base64 line":          top + "Content-Transfer-Encoding: base64\n\n" + strings.Repeat("QUJD", 1000) + "\n",
		"long quoted line":          top + "Content-Transfer-Encoding: quoted-printable\n\n" + strings.Repeat("=41b", 1000) + "\n",
		"empty body":                top + "\n",
		"no body":                   top,
		"no final newline":          top + "\nhello",
		"no final newline, space":   top + "\nhello ",
		"a body of one line ending": top + "\n\n",
		"a body of line endings":    top + "\n" + strings.Repeat("\n", 100),
		"a body of white space":     top + "\n \n\t\n  \t \n",
		"empty lines at the end":    top + "\nhello\n\n\n\n",
		"empty lines at the start":  top + "\n\n\n\nhello\n",
		"white space at line ends":  top + "\nhello \t\nworld\t \n",
		"runs of white space":       top + "\na  b\t\tc \t d\n",
		"tabs":                      top + "\n\ta\n\t\tb\n",
		"dots":                      top + "\n.\n..\n.a\n...\n",
		"From at the line start":    top + "\nFrom here on\n>From there\n",
		"folded subject":            strings.Replace(top, "Subject: s", "Subject: one\n two\n\tthree", 1) + "\nx\n",
		"folded author":             strings.Replace(top, "From: a@contoso.com", "From: \"A B\"\n\t<a@contoso.com>", 1) + "\nx\n",
		"folded at once":            strings.Replace(top, "Subject: s", "Subject:\n s", 1) + "\nx\n",
		"folded white space":        strings.Replace(top, "Subject: s", "Subject: s\n \t \n t", 1) + "\nx\n",
		"very long subject":         strings.Replace(top, "Subject: s", "Subject: "+words, 1) + "\nx\n",
		"a subject of one word":     strings.Replace(top, "Subject: s", "Subject: "+strings.Repeat("x", 900), 1) + "\nx\n",
		"spaces in the subject":     strings.Replace(top, "Subject: s", "Subject:   a   b   ", 1) + "\nx\n",
		"empty subject":             strings.Replace(top, "Subject: s", "Subject:", 1) + "\nx\n",
		"empty subject, spaces":     strings.Replace(top, "Subject: s", "Subject:  \t ", 1) + "\nx\n",
		"empty fields":              top + "Cc:\nReply-To: \nX-A:\n\nx\n",
		"two subjects":              top + "Subject: t\n\nx\n",
		"two authors":               top + "From: c@contoso.com\n\nx\n",
		"two recipients' fields":    top + "To: c@example.org\nCc: d@example.org\nCc: e@example.org\n\nx\n",
		"two of each":               top + top + "\nx\n",
		"names in capitals":         strings.ToUpper(top) + "\nx\n",
		"a space before the colon":  strings.ReplaceAll(top, ": ", " : ") + "\nx\n",
		"no space after the colon":  strings.ReplaceAll(top, ": ", ":") + "\nx\n",
		"many trace fields":         strings.Repeat("Received: from a by b; Fri, 27 Nov 2026 10:00:00 +0000\n", 40) + top + "\nx\n",
		"resent":                    "Resent-From: r@contoso.com\nResent-To: s@example.org\nResent-Date: Fri, 27 Nov 2026 11:00:00 +0000\n" + top + "\nx\n",
		"a list":                    "List-Id: <l.contoso.com>\nList-Unsubscribe: <https://contoso.com/u>\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\n" + top + "\nx\n",
		"references":                top + "In-Reply-To: <0@x>\nReferences: <0@x>\n\t<00@x>\n <000@x>\n\nx\n",
		"a Return-Path":             "Return-Path: <z@contoso.com>\n" + top + "\nx\n",
		"no date and no ID":         "From: a@contoso.com\nTo: b@example.org\n\nx\n",
		"no author":                 "To: b@example.org\nSubject: s\n\nx\n",
		"no header":                 "just text\nin two lines\n",
		"no empty line":             top + "text at once\n",
		"an mbox line":              "From a Fri Nov 27 10:00:00 2026\n" + top + "\nx\n",
		"HTML":                      top + "MIME-Version: 1.0\nContent-Type: text/html\n\n<p>  a  </p>\n",
		"a message within":          multipart("Content-Type: message/rfc822\n\n" + top + "\ninner ü\n"),
		"CR CR LF":                  top + "\nhello\r\r\nworld\r\r\n",
		"bare CRs":                  top + "\nhello\rworld\r",
		"NULs":                      top + "\nhe\x00llo\n",
		"a large body":              top + "\n" + strings.Repeat("0123456789 abcdef\n", 100000),
		"many fields":               strings.Repeat("X-Field: value\n", 2000) + top + "\nx\n",
		"semicolons and equals":     strings.Replace(top, "Subject: s", "Subject: b=x; bh=y; d=z", 1) + "\nDKIM-Signature: b=\n",
	}
	return messages
}
