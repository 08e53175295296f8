package bundle

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"sealpost/hal/printable"
	"sealpost/provisioning/user"
)

const (
	usersName = "users.txt"
	// maxUsersFile is the largest file of users, in bytes.
	maxUsersFile = 64 << 10
)

// readUsers reads the file of users into the bundle. fingerprint identifies its content;
// it is nil if there is no such file.
func (r *reader) readUsers(b *Bundle, serial string) (fingerprint []byte) {
	var text []byte
	b.users, text = r.onlyFile("user files", maxUsersFile, func(name string) bool { return strings.EqualFold(name, usersName) })
	if text == nil {
		return nil
	}
	text, err := plain(text)
	if err != nil {
		r.fault("%s: %w", printable.Line(b.users), err)
		return nil
	}
	changes, faults := parseUsers(text)
	for _, fault := range faults {
		r.fault("%s: %w", printable.Line(b.users), fault)
	}
	b.Users = changes
	salt := sha256.Sum256([]byte("users of " + serial))
	return user.Fingerprint(text, salt[:])
}

// parseUsers reads one user per line: a name, a password, and cram-md5 if wanted. A user
// that exists keeps what it is bound to. The faults do not show passwords.
func parseUsers(text []byte) (changes []user.Change, faults []error) {
	const maxFaults = 10
	lines := make(map[string]int)
	scanner := bufio.NewScanner(bytes.NewReader(text))
	for number := 1; scanner.Scan() && len(faults) < maxFaults; number++ {
		fields := strings.Fields(scanner.Text())
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		fault := func(err error) { faults = append(faults, fmt.Errorf("line %d: %w", number, err)) }
		cram := len(fields) == 3 && strings.EqualFold(fields[2], "cram-md5")
		if len(fields) != 2 && !cram {
			fault(errors.New("write a name, a password and, for a device that needs it, cram-md5, with spaces between them; a password here has no spaces"))
			continue
		}
		c := user.Change{User: user.User{Name: fields[0], CRAMMD5: cram}, Password: user.Password(fields[1]), Replace: true, Keep: true}
		name := strings.ToLower(c.Name)
		if first, found := lines[name]; found {
			fault(fmt.Errorf("the user of line %d has the same name: delete one of the lines", first))
			continue
		}
		lines[name] = number
		if err := user.Check([]user.Change{c}); err != nil {
			fault(err)
			continue
		}
		changes = append(changes, c)
	}
	if err := scanner.Err(); err != nil {
		faults = append(faults, errors.New("a line is too long: write one user per line"))
	}
	if len(changes) == 0 && len(faults) == 0 {
		faults = append(faults, errors.New("it names no user: write one per line, or delete the file"))
	}
	if len(changes) > user.MaxUsers {
		faults = append(faults, fmt.Errorf("it names %d users, and a box has at most %d: delete lines", len(changes), user.MaxUsers))
	}
	return changes, faults
}

// userNames returns the names of the users in the bundle.
func (b Bundle) userNames() []string {
	var names []string
	for _, c := range b.Users {
		names = append(names, c.Name)
	}
	return names
}
