package parts

import (
	"crypto/tls"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"time"
)

var (
	formAction = regexp.MustCompile(`<form[^>]*\saction="([^"]*)"`)
	formInput  = regexp.MustCompile(`<input[^>]*\sname="([^"]*)"[^>]*>`)
	inputValue = regexp.MustCompile(`\svalue="([^"]*)"`)
)

// SignIn simulates a user in a browser with a device code: it opens the page,
// enters the code and the account, and consents.
func (i *Issuer) SignIn(page, code, account string) error {
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: i.config.Roots}}
	defer transport.CloseIdleConnections()
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	browser := &http.Client{Transport: transport, Jar: jar, Timeout: 20 * time.Second}
	fields := map[string]string{"user_code": code, "login": account, "password": "any"}
	at, text, err := read(browser.Get(page))
	const forms = 6
	for range forms {
		if err != nil {
			return fmt.Errorf("signing in: %w", err)
		}
		if strings.Contains(text, "<h1>Sign-in Success</h1>") {
			return nil
		}
		action := formAction.FindStringSubmatch(text)
		if action == nil {
			break
		}
		target, err := at.Parse(html.UnescapeString(action[1]))
		if err != nil {
			return fmt.Errorf("signing in: %w", err)
		}
		at, text, err = read(browser.PostForm(target.String(), fill(text, fields)))
		if err != nil {
			return fmt.Errorf("signing in: %w", err)
		}
	}
	return fmt.Errorf("signing in ended at %s with:\n%.3000s", at, text)
}

// fill returns the form's fields with the known values.
func fill(text string, fields map[string]string) url.Values {
	form := url.Values{}
	for _, input := range formInput.FindAllStringSubmatch(text, -1) {
		if value, ok := fields[input[1]]; ok {
			form.Set(input[1], value)
		} else if value := inputValue.FindStringSubmatch(input[0]); value != nil {
			form.Set(input[1], html.UnescapeString(value[1]))
		}
	}
	return form
}

func read(response *http.Response, err error) (*url.URL, string, error) {
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	const maxSize = 1 << 20
	text, err := io.ReadAll(io.LimitReader(response.Body, maxSize))
	return response.Request.URL, string(text), err
}
