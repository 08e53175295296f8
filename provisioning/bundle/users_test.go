package bundle

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"sealpost/provisioning/user"
)

const usersText = "\ufeff# the devices of the ground floor\r\nprinter  first-password\r\n\r\n\tscanner second-password CRAM-MD5\r\n"

func TestApply_AddsTheUsersInTheSameCommit(t *testing.T) {
	var m memory
	v := m.apply(t, fstest.MapFS{"sealpost/sealpost.toml": content(good), "sealpost/Users.txt": content(usersText)})
	if !v.Applied || !slices.Equal(v.Files, []string{"sealpost/sealpost.toml", "sealpost/Users.txt"}) || !slices.Equal(v.Users, []string{"printer", "scanner"}) {
		t.Fatalf("got %+v, want both files applied", v)
	}
	users, err := user.Load(t.Context(), &m)
	if err != nil || len(users) != 2 || users[0].CRAMMD5 || !users[1].CRAMMD5 {
		t.Errorf("got %v, %v, want both users", users, err)
	}
	text := string(v.Text(serial, time.Time{}))
	if !strings.Contains(text, "Users: printer\r\n       scanner\r\n") || !strings.Contains(text, "users.txt still contains the passwords") || strings.Contains(text, "-password") {
		t.Errorf("got the result\n%s", text)
	}
	if v := m.apply(t, fstest.MapFS{"sealpost/users.txt": content("scanner third-password\n")}); !v.Applied {
		t.Errorf("users alone: got %+v, want applied", v)
	}
	if v := m.apply(t, fstest.MapFS{"sealpost/users.txt": content("scanner third-password\n")}); !v.AppliedBefore {
		t.Errorf("the same users: got %+v, want applied before", v)
	}
	if v := m.apply(t, fstest.MapFS{"sealpost/users.txt": content("scanner other-password\n")}); !v.Applied {
		t.Errorf("another password: got %+v, want applied", v)
	}
	if users, err = user.Load(t.Context(), &m); err != nil || len(users) != 2 || users[1].CRAMMD5 {
		t.Errorf("got %v, %v, want the scanner replaced", users, err)
	}
}

func TestRead_NamesTheLineOfEachFaultyUser(t *testing.T) {
	for text, want := range map[string]string{
		"":                                       "it is empty",
		"# nobody\n":                             "it names no user",
		"\xff\xfep\x00":                          "save it again as UTF-8",
		"printer first-password\nscanner\n":      "line 2: write a name, a password",
		"printer first-password cram\n":          "line 1: write a name, a password",
		"printer first password cram-md5\n":      "line 1: write a name, a password",
		"\n\nprinter secret\n":                   "line 3: the user \"printer\": a password has 8",
		"dr\u00fccker first-password":            "line 1: \"dr\u00fccker\" cannot be the name",
		"a first-password\n\nA other-password":   "line 3: the user of line 1 has the same name",
		strings.Repeat("x", maxUsersFile) + "\n": "larger than 64 KiB",
		strings.Repeat("x y\n", 20):              "line 10:",
	} {
		b, err := Read(fstest.MapFS{"sealpost/sealpost.toml": content(good), "sealpost/users.txt": content(text)}, serial)
		if err := errors.Join(err, b.Check(acceptAnyPath)); err == nil || !strings.Contains(err.Error(), "sealpost/users.txt: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: got %v, want an error with %q", text, err, want)
		} else if strings.Contains(err.Error(), "-password") || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "line 11:") {
			t.Errorf("%.40q: got %v, want no password, and not more than ten faults", text, err)
		}
	}
}
