package endtoend

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/mail"
	"net/textproto"
	"slices"
	"strings"
	"testing"
)

// explained is what sealpost explain prints.
type explained struct {
	Steps []struct {
		Part, Outcome string
	} `json:"steps"`
	Sender     string   `json:"sender"`
	Author     string   `json:"author"`
	Recipients []string `json:"recipients"`
	Sent       bool     `json:"sent"`
}

// refusals returns the replies to the commands that would be refused.
func (e explained) refusals() (all []string) {
	for _, step := range e.Steps {
		if reply, refused := strings.CutPrefix(step.Outcome, "refused: "); refused {
			all = append(all, reply)
		}
	}
	return all
}

// attempt is a message of a device.
type attempt struct {
	client, user, from string
	secure             bool
	to, authors        []string
}

// inFrom returns the authors in the field From: the sender, unless others are given.
func (a attempt) inFrom() []string {
	if len(a.authors) == 0 {
		return []string{a.from}
	}
	return a.authors
}

var (
	devicesOfTest    = []string{"127.0.10.1", "127.0.10.2", "127.0.10.3", "127.0.10.4", "127.0.10.5", "127.0.10.9", "127.0.10.17"}
	sendersOfTest    = []string{"", "a@contoso.com", "b@contoso.com", "A@Contoso.COM", "a+t@contoso.com", "a@contoso.de", "a@gmail.com", "a@mfp.local"}
	recipientsOfTest = []string{"x@contoso.com", "y@contoso.de", "z@fabrikam.com", "boss@fabrikam.com", "x%gmail.com@contoso.com", "a@gmail.com"}
	usersOfTest      = []string{"ann", "bob", "cy"}
)

func pick[T any](random *rand.Rand, all []T) T { return all[random.IntN(len(all))] }

func pickSome(random *rand.Rand, all []string, most int) string {
	var chosen []string
	for range random.IntN(most) + 1 {
		chosen = append(chosen, fmt.Sprintf("%q", pick(random, all)))
	}
	return "[" + strings.Join(chosen, ", ") + "]"
}

// randomRules returns random settings of a site: lines of the sections lan and senders,
// and further sections.
func randomRules(random *rand.Rand) (lan, senders, more string) {
	maybe := func(n int) bool { return random.IntN(n) == 0 }
	if maybe(2) {
		lan += "require_tls = [\"" + pick(random, devicesOfTest) + "/32\"]\n"
	}
	if maybe(2) {
		lan += "require_auth = [\"" + pick(random, devicesOfTest) + "/32\"]\n"
	}
	hasDefault := maybe(2)
	if hasDefault {
		senders += "default = \"b@contoso.com\"\n"
	}
	for _, key := range []string{"foreign", "empty", "from"} {
		if treatments := []string{"keep", "refuse", "replace"}; maybe(2) {
			if !hasDefault {
				treatments = treatments[:2]
			}
			senders += fmt.Sprintf("%s = %q\n", key, pick(random, treatments))
		}
	}
	if maybe(2) {
		more += "[[senders.map]]\nfrom = \"@mfp.local\"\nto = \"b@contoso.com\"\n"
	}
	if maybe(3) {
		more += "[recipients]\nallow = " + pickSome(random, []string{"own", "@fabrikam.com", "z@fabrikam.com"}, 2) + "\n"
	}
	for _, device := range devicesOfTest {
		if maybe(2) {
			continue
		}
		more += "[[device]]\naddress = \"" + device + "\"\n"
		for _, line := range []string{
			"refuse = true", "tls = \"required\"", "auth = \"required\"", "auth = \"any\"", "sender = \"a@contoso.com\"\nsenders = [\"a@contoso.com\", \"@contoso.de\"]",
			"senders = [\"@contoso.com\"]", "recipients = [\"own\"]", "recipients = [\"boss@fabrikam.com\", \"@contoso.de\"]", "tag = \"t\"",
		} {
			if key, _, _ := strings.Cut(line, " "); maybe(6) && !strings.Contains(more[strings.LastIndex(more, "[[device]]"):], key) {
				more += line + "\n"
			}
		}
	}
	return lan, senders, more
}

// TestExplain_SaysWhatThenHappens asks sealpost explain about random messages under random
// settings, and then sends them.
func TestExplain_SaysWhatThenHappens(t *testing.T) {
	t.Parallel()
	const sites, cases = 5, 100
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	sent := 0
	for range sites {
		upstream := startTenant(t, tenantConfig(t))
		lan, senders, more := randomRules(random)
		s := newSite(t, siteConfig{host: "localhost", port: upstream.Address().Port, protection: "file", allow: "127.0.10.0/29", domains: `"contoso.com", "contoso.de"`, lan: lan, senders: senders, more: more})
		s.importPFX(clientCertificate(t, authority()))
		for _, name := range usersOfTest {
			arguments := []string{"user", "add", name, "--password-file", s.path("password")}
			for option, values := range map[string][]string{"--client": {"127.0.10.1", "127.0.10.8/29"}, "--sender": {"a@contoso.com", "@contoso.de"}, "--recipient": {"@contoso.com", "boss@fabrikam.com"}} {
				if random.IntN(2) == 0 {
					arguments = append(arguments, option, pick(random, values))
				}
			}
			if result := s.run(arguments...); result.Status != 0 {
				t.Fatalf("%v: %+v", arguments, result)
			}
		}
		s.start()
		for range cases {
			a := attempt{client: pick(random, devicesOfTest), from: pick(random, sendersOfTest), secure: random.IntN(2) == 0}
			if random.IntN(3) == 0 {
				a.user = pick(random, usersOfTest)
			}
			for range random.IntN(2) + 1 {
				a.to = append(a.to, pick(random, recipientsOfTest))
			}
			if a.from == "" || random.IntN(2) == 0 {
				a.authors = []string{pick(random, sendersOfTest[1:])}
			}
			want := s.explain(a)
			got, before := s.attempt(a), len(upstream.Messages())
			if !slices.Equal(got, want.refusals()) {
				t.Fatalf("%+v\ngot replies %q\nwant %+v\nsettings:\n%s", a, got, want, s.settings())
			}
			if !want.Sent {
				continue
			}
			sent++
			// s.attempt returned after the tenant had the message.
			message := upstream.Messages()[before-1]
			header, err := mail.ReadMessage(strings.NewReader(string(message.Content)))
			if err != nil {
				t.Fatal(err)
			}
			author := strings.Join(a.inFrom(), ", ")
			if want.Author != "" {
				author = want.Author
			}
			from, _ := header.Header.AddressList("From")
			if message.Sender != want.Sender || !slices.Equal(message.Recipients, want.Recipients) || len(from) != 1 || !strings.EqualFold(from[0].Address, author) {
				t.Fatalf("%+v\ngot %q from %v to %q\nwant %+v\nsettings:\n%s", a, message.Sender, from, message.Recipients, want, s.settings())
			}
		}
		s.stop()
	}
	if sent < sites*cases/20 {
		t.Errorf("only %d of %d messages were sent: the rules are too strict for this test", sent, sites*cases)
	}
}

// explain asks the running relay what would happen.
func (s *site) explain(a attempt) (e explained) {
	s.t.Helper()
	arguments := []string{"explain", "--json", "--client", a.client, "--from", a.from, "--user", a.user, fmt.Sprintf("--tls=%t", a.secure)}
	for _, to := range a.to {
		arguments = append(arguments, "--to", to)
	}
	for _, author := range a.authors {
		arguments = append(arguments, "--author", author)
	}
	result := s.run(arguments...)
	if err := json.Unmarshal([]byte(result.Out), &e); err != nil || result.Status != 0 {
		s.t.Fatalf("%v: %+v, %v", arguments, result, err)
	}
	return e
}

// attempt sends the message, and returns the replies that refused something. It goes on
// as long as a message can be sent.
func (s *site) attempt(a attempt) (refused []string) {
	s.t.Helper()
	conn := dialFrom(s.t, a.client, s.address())
	defer conn.Close()
	c := &commander{s: s, conn: conn, r: textproto.NewReader(bufio.NewReader(conn))}
	ask := func(command string) bool {
		code, text := c.ask(command)
		if code >= 400 {
			refused = append(refused, fmt.Sprintf("%d %s", code, text))
		}
		return code < 400
	}
	if !ask("") || !ask("EHLO device") {
		return refused
	}
	if a.secure {
		ask("STARTTLS")
		secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
		c.conn, c.r = secure, textproto.NewReader(bufio.NewReader(secure))
		ask("EHLO device")
	}
	if a.user != "" && !ask("AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00"+a.user+"\x00"+password))) {
		return refused
	}
	if !ask("MAIL FROM:<" + a.from + ">") {
		return refused
	}
	accepted := 0
	for _, to := range a.to {
		if ask("RCPT TO:<" + to + ">") {
			accepted++
		}
	}
	if accepted > 0 && ask("DATA") {
		ask("From: " + strings.Join(a.inFrom(), ", ") + "\r\nSubject: x\r\n\r\ntext\r\n.")
	}
	return refused
}

// commander asks commands.
type commander struct {
	s    *site
	conn net.Conn
	r    *textproto.Reader
}

// ask sends a command, unless it is empty, and returns the last line of the reply.
func (c *commander) ask(command string) (code int, text string) {
	c.s.t.Helper()
	if command != "" {
		if _, err := fmt.Fprintf(c.conn, "%s\r\n", command); err != nil {
			c.s.t.Fatal(err)
		}
	}
	for {
		line, err := c.r.ReadLine()
		if err != nil {
			c.s.t.Fatalf("after %q: %v\n%s", command, err, c.s.relay.Log)
		}
		if _, err := fmt.Sscanf(line, "%d", &code); err != nil {
			c.s.t.Fatalf("after %q: got %q", command, line)
		}
		if len(line) < 4 || line[3] != '-' {
			return code, strings.TrimPrefix(line[3:], " ")
		}
	}
}
