// Package release tests what make release makes: its bills of materials, its checksums
// and its Debian package, on a fresh Debian with systemd.
//
// With a checkout of Buildroot it also compares the card that Buildroot builds with that
// of make card: make release-test BUILDROOT=../buildroot. Without one this test is not
// compiled: it would need a download of Buildroot, and more than half an hour.
package release
