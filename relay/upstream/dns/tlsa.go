package dns

import (
	"bufio"
	"context"
	"crypto/rand"
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

// TLSA is one record that names the certificate of a service (RFC 6698 section 2.1).
type TLSA struct {
	Usage, Selector, MatchingType uint8
	Data                          []byte
}

// typeTLSA is the type of TLSA records (RFC 6698 section 7.1).
const typeTLSA dnsmessage.Type = 52

const (
	queryTimeout = 3 * time.Second // of one query to one server
	maxResponse  = 1232            // octets by UDP, without fragments (DNS Flag Day 2020)
)

// LookupTLSA returns the TLSA records of a TCP port of a host, none if there are none.
// validated reports whether the name server says that it has validated the answer by
// DNSSEC (the AD bit, RFC 6840 section 5.7). That is worth as much as the server and the
// path to it are trusted.
func (r *Resolver) LookupTLSA(ctx context.Context, host string, port uint16) (records []TLSA, validated bool, err error) {
	name, err := dnsmessage.NewName(fmt.Sprintf("_%d._tcp.%s.", port, strings.TrimSuffix(host, ".")))
	if err != nil {
		return nil, false, fmt.Errorf("looking up TLSA records of %q: %w", host, err)
	}
	servers, err := r.nameServers()
	if err != nil {
		return nil, false, err
	}
	var failures []error
	for _, server := range servers {
		response, err := query(ctx, server, name, typeTLSA)
		if err == nil {
			return tlsaRecords(response, name)
		}
		failures = append(failures, fmt.Errorf("looking up TLSA records of %s on %s: %w", host, server, err))
	}
	return nil, false, errors.Join(failures...)
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

// query asks one server, by UDP, and again by TCP if the answer is truncated (RFC 7766).
func query(ctx context.Context, server string, name dnsmessage.Name, kind dnsmessage.Type) ([]byte, error) {
	question := dnsmessage.Question{Name: name, Type: kind, Class: dnsmessage.ClassINET}
	id, packed, err := packQuery(question)
	if err != nil {
		return nil, err
	}
	for _, network := range []string{"udp", "tcp"} {
		response, err := exchange(ctx, network, server, packed)
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
func exchange(ctx context.Context, network, server string, packed []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })()
	if network == "udp" {
		if _, err := conn.Write(packed); err != nil {
			return nil, err
		}
		response := make([]byte, maxResponse)
		n, err := conn.Read(response)
		return response[:n], err
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
		return false, fmt.Errorf("the server answers %s", strings.TrimPrefix(header.RCode.String(), "RCode"))
	}
	return header.Truncated, nil
}

func sameName(a, b dnsmessage.Name) bool { return strings.EqualFold(a.String(), b.String()) }

// maxRecords is how many records of an answer are read.
const maxRecords = 100

// tlsaRecords returns the TLSA records in a response, those of an alias too.
func tlsaRecords(response []byte, name dnsmessage.Name) (records []TLSA, validated bool, err error) {
	var p dnsmessage.Parser
	header, err := p.Start(response)
	if err == nil {
		err = p.SkipAllQuestions()
	}
	for range maxRecords {
		if err != nil {
			break
		}
		var h dnsmessage.ResourceHeader
		if h, err = p.AnswerHeader(); err != nil {
			break
		}
		switch {
		case h.Type == dnsmessage.TypeCNAME && sameName(h.Name, name):
			var alias dnsmessage.CNAMEResource
			alias, err = p.CNAMEResource()
			name = alias.CNAME
		case h.Type == typeTLSA && sameName(h.Name, name):
			var unknown dnsmessage.UnknownResource
			if unknown, err = p.UnknownResource(); err == nil {
				if record, ok := parseTLSA(unknown.Data); ok {
					records = append(records, record)
				}
			}
		default:
			err = p.SkipAnswer()
		}
	}
	if err != nil && !errors.Is(err, dnsmessage.ErrSectionDone) {
		return nil, false, fmt.Errorf("reading the TLSA records: %w", err)
	}
	return records, header.AuthenticData, nil
}

func parseTLSA(data []byte) (TLSA, bool) {
	const fields = 3
	if len(data) <= fields {
		return TLSA{}, false
	}
	return TLSA{data[0], data[1], data[2], data[fields:]}, true
}
