package clock

import (
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestQueryDate_AcceptsACertificateThatIsValidAtTheDate(t *testing.T) {
	header := make(chan http.Header, 1)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for name, values := range <-header {
			w.Header()[name] = values
		}
		w.Header().Set("Location", "https://192.0.2.1/") // must not be followed
		w.WriteHeader(http.StatusFound)
	}))
	defer server.Close()
	trusted := x509.NewCertPool()
	trusted.AddCert(server.Certificate())
	address := server.Listener.Addr().String()
	in2030 := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	expired := server.Certificate().NotAfter.Add(time.Hour)
	for _, c := range []struct {
		name   string
		header http.Header
		roots  *x509.CertPool
		want   time.Time
		err    string
	}{
		{"another time than the machine's", http.Header{"Date": {in2030.Format(http.TimeFormat)}}, trusted, in2030, ""},
		{"a certificate that has expired by then", http.Header{"Date": {expired.Format(http.TimeFormat)}}, trusted, time.Time{}, "not valid at the date"},
		{"an unknown authority", http.Header{"Date": {in2030.Format(http.TimeFormat)}}, x509.NewCertPool(), time.Time{}, "unknown authority"},
		{"no date", http.Header{"Date": nil}, trusted, time.Time{}, "no date"},
		{"an invalid date", http.Header{"Date": {"today"}}, trusted, time.Time{}, "no date"},
		{"a cache", http.Header{"Date": {in2030.Format(http.TimeFormat)}, "Age": {"86400"}}, trusted, time.Time{}, "from a cache"},
	} {
		header <- c.header
		start := time.Now()
		r := queryDate(t.Context(), address, c.roots, start)
		switch {
		case c.err != "":
			if r.Err == nil || !strings.Contains(r.Err.Error(), c.err) {
				t.Errorf("%s: got %v, want %q", c.name, r.Err, c.err)
			}
		case r.Err != nil:
			t.Errorf("%s: got error %v", c.name, r.Err)
		case r.Start.Before(c.want.Add(-time.Minute)) || r.Start.After(c.want.Add(time.Minute)) || r.Address != "127.0.0.1":
			t.Errorf("%s: got %v from %s, want %v", c.name, r.Start, r.Address, c.want)
		}
	}
}

func TestQueryDate_FailsWithoutAServer(t *testing.T) {
	server := httptest.NewTLSServer(nil)
	server.Close()
	for _, name := range []string{server.Listener.Addr().String(), "not a name", ""} {
		if r := queryDate(t.Context(), name, nil, time.Now()); r.Err == nil {
			t.Errorf("%q: got no error, want one", name)
		}
	}
}
