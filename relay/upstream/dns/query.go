package dns

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	queryTimeout = 3 * time.Second // of one query to one server
	maxResponse  = 1232            // octets by UDP, without fragments (DNS Flag Day 2020)
	maxRecords   = 100             // of an answer that are read
	idLength     = 2               // octets of the ID, with which a message begins
)

// serverFailure is the error of a server that answers that it has no answer: those of the
// domain fail, or its records are not signed as DNSSEC requires.
type serverFailure struct{ code dnsmessage.RCode }

func (f *serverFailure) Error() string {
	return "the server answers " + strings.TrimPrefix(f.code.String(), "RCode")
}

// answer is what a name server says about a name and a type.
type answer struct {
	records   []dnsmessage.ResourceBody // in the order of the message
	validated bool                      // the AD bit (RFC 6840 section 5.7)
	notFound  bool                      // the name does not exist
}

// query asks the servers in turn until one answers. The error is a *net.DNSError; its
// IsTimeout is set if none of them answers at all, whatever it is asked.
func (r *Resolver) query(ctx context.Context, name string, kind dnsmessage.Type) (answer, error) {
	fault := &net.DNSError{Name: name, IsTemporary: true, IsTimeout: true}
	fqdn, err := dnsmessage.NewName(strings.TrimSuffix(name, ".") + ".")
	if err != nil {
		return answer{}, &net.DNSError{Err: err.Error(), Name: name}
	}
	servers, err := r.nameServers()
	if err != nil {
		fault.Err = err.Error()
		return answer{}, fault
	}
	var failures []string
	for _, server := range servers {
		response, err := r.ask(ctx, server, fqdn, kind)
		if err == nil {
			var found answer
			if found, err = parseAnswer(response, fqdn, kind); err == nil {
				return found, nil
			}
			fault.IsTimeout = false
		}
		failures = append(failures, fmt.Sprintf("%s: %v", server, err))
		if errors.As(err, new(*serverFailure)) {
			fault.IsTimeout = false
		}
	}
	if fault.IsTimeout && r.answersRoot(ctx, servers) {
		fault.IsTimeout = false
	}
	fault.Err, fault.Server = strings.Join(failures, "; "), strings.Join(servers, ", ")
	return answer{}, fault
}

// answersRoot reports whether a server answers about the root, which it knows without
// asking others: a server may wait for the servers of a domain longer than it is waited for.
func (r *Resolver) answersRoot(ctx context.Context, servers []string) bool {
	for _, server := range servers {
		_, err := r.ask(ctx, server, dnsmessage.MustNewName("."), dnsmessage.TypeNS)
		if err == nil || errors.As(err, new(*serverFailure)) {
			return true
		}
	}
	return false
}

// nameServers returns the given servers, or else the system's.
func (r *Resolver) nameServers() (servers []string, err error) {
	if r.servers != "" {
		return strings.Split(r.servers, ", "), nil
	}
	const dnsPort, maxConfig = 53, 64 << 10
	file, err := os.Open("/etc/resolv.conf")
	if err != nil {
		return nil, fmt.Errorf("finding the system's name servers: %w", err)
	}
	defer file.Close()
	lines := bufio.NewScanner(io.LimitReader(file, maxConfig))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if address, err := netip.ParseAddr(fields[1]); err == nil {
			servers = append(servers, netip.AddrPortFrom(address, dnsPort).String())
		}
	}
	if len(servers) == 0 {
		return nil, errors.New("the system has no name servers: set upstream.dns")
	}
	return servers, lines.Err()
}

// ask asks one server: over TLS (RFC 7858) if the resolver does, else by UDP, and again
// by TCP if the answer is truncated (RFC 7766).
func (r *Resolver) ask(ctx context.Context, server string, name dnsmessage.Name, kind dnsmessage.Type) ([]byte, error) {
	question := dnsmessage.Question{Name: name, Type: kind, Class: dnsmessage.ClassINET}
	id, packed, err := packQuery(question)
	if err != nil {
		return nil, err
	}
	networks := []string{"udp", "tcp"}
	if r.tls != nil {
		networks = []string{"tcp"}
	}
	for _, network := range networks {
		response, err := r.exchange(ctx, network, server, packed)
		if err != nil {
			return nil, err
		}
		truncated, err := checkResponse(response, id, question)
		if err != nil {
			return nil, err
		}
		if !truncated {
			return response, nil
		}
	}
	return nil, errors.New("the answer by TCP is truncated too")
}

// packQuery asks for a recursive, validated answer (RFC 3225, RFC 6840 section 5.7).
func packQuery(question dnsmessage.Question) (id uint16, packed []byte, err error) {
	var random [2]byte
	_, _ = rand.Read(random[:])
	id = binary.BigEndian.Uint16(random[:])
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: id, RecursionDesired: true, AuthenticData: true})
	var options dnsmessage.ResourceHeader
	err = errors.Join(b.StartQuestions(), b.Question(question), b.StartAdditionals(),
		options.SetEDNS0(maxResponse, dnsmessage.RCodeSuccess, true), b.OPTResource(options, dnsmessage.OPTResource{}))
	if err != nil {
		return 0, nil, fmt.Errorf("writing the query: %w", err)
	}
	packed, err = b.Finish()
	return id, packed, err
}

// exchange sends a query over a connection of its own, and returns the response.
func (r *Resolver) exchange(ctx context.Context, network, server string, packed []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if r.tls != nil {
		secured := tls.Client(conn, r.tls)
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("TLS handshake: %w", err)
		}
		conn = secured
	}
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })()
	if network == "udp" {
		if _, err := conn.Write(packed); err != nil {
			return nil, err
		}
		response := make([]byte, maxResponse)
		for {
			n, err := conn.Read(response)
			// Anybody can send a datagram with the address of the server and a guessed ID.
			if err != nil || n >= idLength && bytes.Equal(response[:idLength], packed[:idLength]) {
				return response[:n], err
			}
		}
	}
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(packed))), packed...)); err != nil {
		return nil, err
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	response := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err = io.ReadFull(conn, response)
	return response, err
}

// checkResponse rejects what does not answer the question.
func checkResponse(response []byte, id uint16, asked dnsmessage.Question) (truncated bool, err error) {
	var p dnsmessage.Parser
	header, err := p.Start(response)
	if err != nil {
		return false, fmt.Errorf("reading the response: %w", err)
	}
	questions, err := p.AllQuestions()
	switch {
	case err != nil:
		return false, fmt.Errorf("reading the response: %w", err)
	case !header.Response || header.ID != id || len(questions) != 1 || questions[0].Type != asked.Type || !sameName(questions[0].Name, asked.Name):
		return false, errors.New("the response is to another question")
	case header.RCode != dnsmessage.RCodeSuccess && header.RCode != dnsmessage.RCodeNameError:
		return false, &serverFailure{header.RCode}
	}
	return header.Truncated, nil
}

func sameName(a, b dnsmessage.Name) bool { return strings.EqualFold(a.String(), b.String()) }

// parseAnswer returns the records of the type in a response, those of an alias too.
func parseAnswer(response []byte, name dnsmessage.Name, kind dnsmessage.Type) (answer, error) {
	var p dnsmessage.Parser
	header, err := p.Start(response)
	if err == nil {
		err = p.SkipAllQuestions()
	}
	found := answer{validated: header.AuthenticData, notFound: header.RCode == dnsmessage.RCodeNameError}
	for range maxRecords {
		if err != nil {
			break
		}
		var resource dnsmessage.Resource
		if resource, err = p.Answer(); err != nil || !sameName(resource.Header.Name, name) {
			continue
		}
		if alias, isAlias := resource.Body.(*dnsmessage.CNAMEResource); isAlias && kind != dnsmessage.TypeCNAME {
			name = alias.CNAME
		} else if resource.Header.Type == kind {
			found.records = append(found.records, resource.Body)
		}
	}
	if err != nil && !errors.Is(err, dnsmessage.ErrSectionDone) {
		return answer{}, fmt.Errorf("reading the answer: %w", err)
	}
	return found, nil
}
