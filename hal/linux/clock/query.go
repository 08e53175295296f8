package clock

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/beevik/ntp"
)

// Servers that are queried if the network and the settings name none.
var (
	public      = []string{"time.windows.com", "time.cloudflare.com", "time.nist.gov"}
	publicHTTPS = []string{"login.microsoftonline.com", "www.cloudflare.com"}
)

const (
	// queryTimeout limits one request to one server.
	queryTimeout = 5 * time.Second
	// maxServers limits how many servers are queried at once.
	maxServers = 8
)

// response is the time that a server reported, or an error.
type response struct {
	Server  string
	Address string    // that the name led to
	Start   time.Time // the time at the start, according to the server
	// Precision is how far Start may be off.
	Precision time.Duration
	Err       error
}

// setOffset sets Start from the machine's clock and its offset from the server's clock.
// Both are read before the clock may be set.
func (r *response) setOffset(clock time.Time, offset time.Duration, start time.Time) {
	r.Start = clock.Round(0).Add(offset - clock.Sub(start))
	r.Precision = 100 * time.Millisecond
}

// queryNTP queries time servers, all at once.
func queryNTP(ctx context.Context, servers []string, start time.Time) []response {
	return queryAll(ctx, servers, func(ctx context.Context, server string) response {
		addresses, err := net.DefaultResolver.LookupHost(ctx, server)
		if err != nil {
			return response{Server: server, Err: err}
		}
		r := response{Server: server, Address: addresses[0]}
		reply, err := ntp.QueryWithOptions(r.Address, ntp.QueryOptions{Timeout: queryTimeout})
		if err == nil {
			err = reply.Validate()
		}
		if err != nil {
			r.Err = err
			return r
		}
		r.setOffset(time.Now(), reply.ClockOffset, start)
		return r
	})
}

// queryHTTPS queries HTTPS servers, all at once.
func queryHTTPS(ctx context.Context, servers []string, roots *x509.CertPool, start time.Time) []response {
	return queryAll(ctx, servers, func(ctx context.Context, server string) response {
		return queryDate(ctx, server, roots, start)
	})
}

func queryAll(ctx context.Context, servers []string, query func(context.Context, string) response) []response {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	servers = servers[:min(len(servers), maxServers)]
	responses := make(chan response, len(servers))
	for _, server := range servers {
		go func() { responses <- query(ctx, server) }()
	}
	var all []response
	for range servers {
		all = append(all, <-responses)
	}
	return all
}

// queryDate queries one HTTPS server for its date (RFC 9110, section 6.6.1). Its
// certificate must be valid at that date rather than at the machine's, which may be
// wrong: a server without a valid certificate for the name is not trusted.
func queryDate(ctx context.Context, server string, roots *x509.CertPool, start time.Time) response {
	r := response{Server: server}
	const maxHeader = 16 << 10
	client := http.Client{
		Transport: &http.Transport{
			// Verified below, when the date is known.
			TLSClientConfig:        &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12},
			DisableKeepAlives:      true,
			MaxResponseHeaderBytes: maxHeader,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, "https://"+server+"/", nil)
	if err != nil {
		r.Err = err
		return r
	}
	request.Header.Set("Cache-Control", "no-cache")
	addresses, err := net.DefaultResolver.LookupHost(ctx, request.URL.Hostname())
	if err != nil {
		r.Err = err
		return r
	}
	r.Address = addresses[0]
	sent := time.Now()
	response, err := client.Do(request)
	if err != nil {
		r.Err = err
		return r
	}
	_ = response.Body.Close()
	received := time.Now()
	date, err := http.ParseTime(response.Header.Get("Date"))
	switch {
	case err != nil:
		r.Err = errors.New("its answer has no date")
	case response.Header.Get("Age") != "":
		r.Err = errors.New("its answer is from a cache")
	default:
		r.Err = verifyAt(response.TLS.PeerCertificates, request.URL.Hostname(), roots, date)
	}
	// The date is on average half a second old. The difference of sent and received
	// is measured with the monotonic clock.
	trip := received.Sub(sent)
	r.Start = date.Add(time.Second/2 + trip/2 - received.Sub(start))
	r.Precision = time.Second + trip
	return r
}

// verifyAt verifies a server's chain for its name at a time.
func verifyAt(chain []*x509.Certificate, name string, roots *x509.CertPool, at time.Time) error {
	intermediates := x509.NewCertPool()
	for _, certificate := range chain[1:] {
		intermediates.AddCert(certificate)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: intermediates, CurrentTime: at})
	if err != nil {
		return fmt.Errorf("its certificate is not valid at the date of its answer, %s: %w", minute(at), err)
	}
	return nil
}
