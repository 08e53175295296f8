// Package release tests what make release makes: its bills of materials, its checksums
// and its Debian package, on a fresh Debian with systemd.
package release
