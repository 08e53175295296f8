package endtoend

import "strings"

// headerTrials try to send as another author by the header. All are delivered, with the
// device's own sender as their author, unless the header is too large.
func headerTrials() (all []trial) {
	const own, foreign = "From: " + ownSender + "\r\n", "From: Boss <" + victim + ">\r\n"
	many := strings.Repeat("X-Filler: "+strings.Repeat("x", 60)+"\r\n", 1000)
	for _, c := range []struct{ name, header, want string }{
		{"own author", own, delivered},
		{"no author", "", delivered},
		{"foreign author", foreign, delivered},
		{"another author of the own domain", "From: boss@contoso.com\r\n", delivered},
		{"two fields, own first", own + foreign, delivered},
		{"two fields, foreign first", foreign + own, delivered},
		{"three fields", own + foreign + own, delivered},
		{"two authors", "From: " + ownSender + ", " + victim + "\r\n", delivered},
		{"two authors, foreign first", "From: " + victim + ", " + ownSender + "\r\n", delivered},
		{"group", "From: all: " + victim + ", " + ownSender + ";\r\n", delivered},
		{"group and an author", "From: none:;, " + victim + "\r\n", delivered},
		{"empty group", "From: none:;\r\n", delivered},
		{"group without an end", "From: all: " + victim + "\r\n", delivered},
		{"encoded word for an address", "From: =?utf-8?q?victim=40fabrikam=2Eexample?=\r\n", delivered},
		{"encoded word with brackets", "From: =?utf-8?q?Boss_=3Cvictim=40fabrikam=2Eexample=3E?=\r\n", delivered},
		{"encoded word in brackets", "From: <=?utf-8?b?dmljdGltQGZhYnJpa2FtLmV4YW1wbGU=?=>\r\n", delivered},
		{"encoded word before the own address", "From: =?utf-8?q?victim=40fabrikam=2Eexample?= <" + ownSender + ">\r\n", delivered},
		{"address as a name", "From: \"victim@fabrikam.example\" <" + ownSender + ">\r\n", delivered},
		{"address in brackets in quotes", "From: \"<" + ownSender + ">\" <" + victim + ">\r\n", delivered},
		{"two pairs of brackets", "From: <" + ownSender + "> <" + victim + ">\r\n", delivered},
		{"two pairs of brackets, foreign first", "From: <" + victim + "> <" + ownSender + ">\r\n", delivered},
		{"comment", "From: " + victim + " (" + ownSender + ")\r\n", delivered},
		{"comment with brackets", "From: (<" + ownSender + ">) <" + victim + ">\r\n", delivered},
		{"comment without an end", "From: (" + ownSender + " " + victim + "\r\n", delivered},
		{"source route", "From: <@contoso.com:" + victim + ">\r\n", delivered},
		{"percent hack", "From: victim%fabrikam.example@contoso.com\r\n", delivered},
		{"upper case", "FROM: " + strings.ToUpper(victim) + "\r\n", delivered},
		{"folded", "From:\r\n " + victim + "\r\n", delivered},
		{"folded within", "From: Boss\r\n\t<victim\r\n @fabrikam.example>\r\n", delivered},
		{"folded over many lines", "From:" + strings.Repeat("\r\n ", 500) + victim + "\r\n", delivered},
		{"fold before it", "Subject: x\r\n " + foreign, delivered},
		{"space before the colon", "From : " + victim + "\r\n", delivered},
		{"tab before the colon", "From\t: " + victim + "\r\n", delivered},
		{"space before the name", " " + foreign, delivered},
		{"NUL in the name", "Fr\x00om: " + victim + "\r\n", delivered},
		{"NUL before the name", "\x00" + foreign, delivered},
		{"octet above 127 in the name", "\xa0" + foreign, delivered},
		{"vertical tab before the name", "\v" + foreign, delivered},
		{"bare CR before it", own + "Subject: x\r" + foreign, delivered},
		{"bare LF before it", own + "Subject: x\n" + foreign, delivered},
		{"CR CR LF before it", own + "Subject: x\r\r\n" + foreign, delivered},
		{"after a malformed line", own + "no field\r\n" + foreign, delivered},
		{"after an empty line", own + "\r\n" + foreign, delivered},
		{"after an mbox line", "From x Thu Nov 26 09:00:00 2026\r\n" + foreign, delivered},
		{"in the text of a message without a header", "Hello\r\n" + foreign, delivered},
		{"after a line of spaces", own + "   \r\n" + foreign, delivered},
		{"after a large header", own + many + foreign, delivered},
		{"after a header over the limit", own + many + many + foreign, refused},
		{"longer than a line may be", own + "From: " + strings.Repeat("x", 20000) + " <" + victim + ">\r\n", refused},
		{"Sender", own + "Sender: " + victim + "\r\n", delivered},
		{"Sender of the own domain", own + "Sender: Boss <boss@contoso.com>\r\n", delivered},
		{"two Sender", own + "Sender: " + ownSender + "\r\nSender: " + victim + "\r\n", delivered},
		{"Sender that cannot be read", own + "Sender: <" + victim + "\r\n", delivered},
		{"Sender and a foreign author", foreign + "Sender: " + ownSender + "\r\n", delivered},
		{"Resent-From and Resent-Sender", own + "Resent-From: " + victim + "\r\nResent-Sender: " + victim + "\r\n", delivered},
		{"Apparently-From and the like", own + "X-From: " + victim + "\r\nErrors-To: " + victim + "\r\nReturn-Path: <" + victim + ">\r\n", delivered},
		{"Bcc and To", own + "Bcc: " + victim + "\r\nTo: " + victim + "\r\n", delivered},
	} {
		all = append(all, trial{name: "header: " + c.name, want: c.want, steps: []string{
			"EHLO client", "MAIL FROM:<" + ownSender + ">", "RCPT TO:<" + ownRecipient + ">", "DATA", content + c.header,
		}})
	}
	return all
}
