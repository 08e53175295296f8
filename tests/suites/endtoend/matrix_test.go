package endtoend

import (
	"fmt"
	"net"
	"net/netip"
	"net/smtp"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"

	"sealpost/tests/rigs/parts"
	"sealpost/tests/rigs/tenant"
)

// mode is how a client connects: the kind of the port, and what the client does there.
type mode struct{ port, tls string }

var modes = []mode{
	{"smtp", "clear"}, {"smtp", "STARTTLS"}, {"smtp", "implicit"},
	{"smtps", "clear"}, {"smtps", "STARTTLS"}, {"smtps", "implicit"},
}

// cell is one message of the matrix and what becomes of it.
type cell struct {
	mail  parts.Mail
	row   string // what the matrix calls it
	want  string // the keyword of the trace field, or the beginning of the reply that refuses it
	reply string // the last one that the client got
}

// matrixSettings are those of devices that need TLS, and of old ones.
const matrixSettings = `
[[device]]
address = "127.21.0.0/24"
tls = "required"

[[device]]
address = "127.22.0.0/24"
tls = "legacy"
`

// TestMatrix_EachClientSendsInEachMode has real programs send one message in each way that
// they have, and be refused with the documented replies.
func TestMatrix_EachClientSendsInEachMode(t *testing.T) {
	t.Parallel()
	upstream := startTenant(t, tenantConfig(t))
	s := newSite(t, siteConfig{host: "localhost", port: upstream.Address().Port, protection: "file", smtps: "127.0.0.2:0", more: matrixSettings})
	s.importPFX(clientCertificate(t, authority()))
	for _, name := range []string{"device", "guessed"} {
		if result := s.run("user", "add", name, "--password-file", s.path("password"), "--cram-md5"); result.Status != 0 {
			t.Fatalf("%+v", result)
		}
	}
	s.start()
	if result := s.run("certificate", "ca", "--out", s.path("lan-ca.pem")); result.Status != 0 {
		t.Fatalf("%+v", result)
	}
	cells := make([][]cell, len(mailClients))
	s.forEachClient(func(n int, client mailClient) { cells[n] = s.sendAll(client, s.cellsOf(n, client)) })
	s.guess("guessed")
	s.forEachClient(func(n int, client mailClient) {
		cells[n] = append(cells[n], s.sendAll(client, s.refusedCells(n, client))...)
	})
	report(t, cells, upstream.Messages())
	s.checkOldTLS(upstream)
}

func (s *site) forEachClient(do func(n int, client mailClient)) {
	var clients sync.WaitGroup
	for n, client := range mailClients {
		clients.Go(func() { do(n, client) })
	}
	clients.Wait()
}

// addressOfCell is an address of its own for each cell: the relay remembers what the
// clients of an address do.
func addressOfCell(network, client, n int) string {
	return netip.AddrFrom4([4]byte{127, byte(network), byte(client), byte(n + 1)}).String()
}

// mail returns a message in one mode, without a login.
func (s *site) mail(from string, m mode) parts.Mail {
	s.t.Helper()
	address := s.addressesByMode()[map[string]string{"smtp": "clear", "smtps": "implicit TLS"}[m.port]]
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		s.t.Fatal(err)
	}
	return parts.Mail{
		Host: host, Port: must(strconv.Atoi(port)), FromAddress: from, TLS: m.tls,
		CA: string(must(os.ReadFile(s.path("lan-ca.pem")))), ServerName: "relay.contoso.com",
		User: "device", Password: password,
		Sender: sender, Recipient: recipient, Text: "A page from " + from + ".",
	}
}

// cellsOf returns the messages that arrive.
func (s *site) cellsOf(client int, c mailClient) (cells []cell) {
	s.t.Helper()
	for _, m := range modes {
		for _, auth := range append([]string{""}, c.auths...) {
			mail := s.mail(addressOfCell(20, client, len(cells)), m)
			mail.Auth = auth
			want := "ESMTP"
			if m.tls != "clear" {
				want += "S"
			}
			if auth != "" {
				want += "A"
			}
			cells = append(cells, cell{mail: mail, row: fmt.Sprintf("%s port, %s", m.port, m.tls), want: want})
		}
	}
	return cells
}

// refusedCells returns the messages that are refused.
func (s *site) refusedCells(client int, c mailClient) (cells []cell) {
	s.t.Helper()
	for n, auth := range c.auths {
		wrong := s.mail(addressOfCell(23, client, n), mode{"smtp", "STARTTLS"})
		wrong.Auth, wrong.User, wrong.Password = auth, "nobody"+strconv.Itoa(client), "wrong password"
		many := s.mail(addressOfCell(24, client, n), mode{"smtp", "STARTTLS"})
		many.Auth, many.User = auth, "guessed"
		cells = append(cells,
			cell{mail: wrong, row: "wrong password", want: "535 5.7.8"},
			cell{mail: many, row: "too many guesses", want: "454 4.7.0 too many wrong passwords: try again in"})
	}
	clear := s.mail(addressOfCell(21, 0, client), mode{"smtp", "clear"})
	return append(cells, cell{mail: clear, row: "clear, TLS required", want: "530 5.7.0"})
}

// guess gives five wrong passwords for a user.
func (s *site) guess(name string) {
	s.t.Helper()
	for n := range 5 {
		conn := dialFrom(s.t, addressOfCell(25, 0, n), s.address())
		client := must(smtp.NewClient(conn, "localhost"))
		if err := client.Auth(smtp.PlainAuth("", name, "a guess of "+strconv.Itoa(n), "localhost")); err == nil || !strings.HasPrefix(err.Error(), "535 ") {
			s.t.Errorf("a guess: got %v, want 535", err)
		}
		_ = client.Close()
	}
}

// sendAll sends the messages of cells, and returns the cells with the replies.
func (s *site) sendAll(client mailClient, cells []cell) []cell {
	var all []parts.Mail
	for n := range cells {
		cells[n].mail.Subject = client.name + " " + cells[n].mail.FromAddress
		all = append(all, cells[n].mail)
	}
	for n, reply := range client.send(s, all) {
		cells[n].reply = reply
	}
	return cells
}

// arrived returns the message of a cell, if there is exactly one.
func arrived(c cell, messages []tenant.Message) (tenant.Message, bool) {
	messages = slices.DeleteFunc(slices.Clone(messages), func(m tenant.Message) bool {
		return !strings.Contains(string(m.Content), "\r\nSubject: "+c.mail.Subject+"\r\n")
	})
	if len(messages) != 1 {
		return tenant.Message{}, false
	}
	return messages[0], true
}

var keyword = regexp.MustCompile(`\(Sealpost\) with (\w+) id`)

// result returns what became of a cell, and whether it is right.
func (c cell) result(messages []tenant.Message) (string, bool) {
	m, ok := arrived(c, messages)
	if !ok {
		return c.reply, strings.HasPrefix(c.reply, c.want)
	}
	content := string(m.Content)
	with := keyword.FindStringSubmatch(content)
	switch {
	case with == nil || !strings.Contains(content, "(["+c.mail.FromAddress+"])"):
		return "wrong trace field", false
	case m.Sender != sender || !slices.Equal(m.Recipients, []string{recipient}):
		return fmt.Sprintf("%s to %s", m.Sender, m.Recipients), false
	case !strings.Contains(content, "\r\n\r\n"+c.mail.Text):
		return "wrong content", false
	}
	return with[1], with[1] == c.want
}

// report logs the matrix, and fails for each cell that is not as wanted.
func report(t *testing.T, cells [][]cell, messages []tenant.Message) {
	t.Helper()
	var rows []string
	results := map[string]map[string][]string{} // by row and client
	for n, client := range mailClients {
		for _, c := range cells[n] {
			got, ok := c.result(messages)
			if !ok {
				t.Errorf("%s, %s, %q: got %q, want %q", client.name, c.row, c.mail.Auth, got, c.want)
			}
			if results[c.row] == nil {
				rows, results[c.row] = append(rows, c.row), map[string][]string{}
			}
			got, _, _ = strings.Cut(got, " ")
			if auth := c.mail.Auth; auth != "" {
				got = auth + ":" + got
			}
			results[c.row][client.name] = append(results[c.row][client.name], got)
		}
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for _, client := range mailClients {
			fmt.Fprintf(w, "%s\t%s\t%s\n", row, client.name, strings.Join(results[row][client.name], "\t"))
		}
	}
	_ = w.Flush()
	t.Logf("mode, client, and what became of each message:\n%s", &b)
}

// checkOldTLS has OpenSSL send with old versions of TLS, from a device that may and from
// one that may not, for which the journal says what to do.
func (s *site) checkOldTLS(upstream *tenant.Tenant) {
	s.t.Helper()
	for n, version := range []string{"-tls1", "-tls1_1"} {
		allowed := s.mail(addressOfCell(22, 0, n), mode{"smtp", "STARTTLS"})
		allowed.Subject = "openssl " + allowed.FromAddress
		output := s.sendByOpenSSL(allowed, version)
		got, ok := cell{mail: allowed, want: "ESMTPS"}.result(upstream.Messages())
		s.t.Logf("openssl %s, tls = \"legacy\": %s", version, got)
		if !ok {
			s.t.Errorf("openssl %s from a legacy device: got %q, want ESMTPS\n%s", version, got, output)
		}
		refused := s.mail(addressOfCell(26, 0, n), mode{"smtp", "STARTTLS"})
		refused.Subject = "openssl " + refused.FromAddress
		output = s.sendByOpenSSL(refused, version)
		if _, got := arrived(cell{mail: refused}, upstream.Messages()); got || !strings.Contains(output, "alert protocol version") {
			s.t.Errorf("openssl %s from another device: got a message: %t, want the alert \"protocol version\"\n%s", version, got, output)
		}
		events := s.events("TLS handshake failed", n+1)
		if text := fmt.Sprint(events[n]); !strings.Contains(text, `tls = "legacy"`) || !strings.Contains(text, refused.FromAddress) {
			s.t.Errorf("got event %s, want the cure for %s", text, refused.FromAddress)
		}
		s.t.Logf("openssl %s, without: %v", version, events[n]["cause"])
	}
}

// sendByOpenSSL sends a message through openssl s_client, with the commands at once.
func (s *site) sendByOpenSSL(m parts.Mail, version string) string {
	s.t.Helper()
	input := fmt.Sprintf("EHLO client\nMAIL FROM:<%s>\nRCPT TO:<%s>\nDATA\nFrom: %s\nSubject: %s\n\n%s\n.\nQUIT\n", m.Sender, m.Recipient, m.Sender, m.Subject, m.Text)
	output, _ := runWith(s.t, input, "openssl", "s_client", "-starttls", "smtp", "-connect", net.JoinHostPort(m.Host, strconv.Itoa(m.Port)), "-bind", m.FromAddress+":0",
		version, "-cipher", "DEFAULT@SECLEVEL=0", "-CAfile", s.path("lan-ca.pem"), "-verify_return_error", "-crlf", "-quiet")
	return output
}
