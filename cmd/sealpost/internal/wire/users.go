package wire

import (
	"sealpost/provisioning/user"
	"sealpost/relay/lan"
	"sealpost/relay/policy"
)

// users are the local users as the relay asks for them.
type users struct{ *user.Directory }

var _ lan.Users = users{}

// User implements lan.Users.
func (u users) User(name string) (policy.User, bool) {
	found, known := u.Lookup(name)
	return policy.User{Name: found.Name, Password: u.PasswordVersion(name), Clients: found.Clients, Senders: patterns(found.Senders), Recipients: patterns(found.Recipients)}, known
}

// lanUsers returns the users for a relay; nil without a directory.
func lanUsers(d *user.Directory) lan.Users {
	if d == nil {
		return nil
	}
	return users{d}
}
