package tpm

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/go-tpm/tpm2"

	"sealpost/hal"
)

const (
	// rootHandle is where the TCG's provisioning guidance puts the storage
	// root key.
	rootHandle = tpm2.TPMHandle(0x81000001)

	// maxLoaded keys stay loaded: TPMs have three slots, and a persistent
	// root occupies one while it is used.
	maxLoaded = 2

	nonceSize = 16 // bytes
)

// link is a connection to the TPM with its session and loaded keys. It is used by
// one operation at a time.
type link struct {
	channel  channel
	deadline time.Time
	root     *storageRoot // nil while the TPM has none
	session  tpm2.Session // salted, encrypts the first command parameter
	loaded   []loadedKey  // least recently used first
}

type storageRoot struct {
	encoded []byte // TPM2B_PUBLIC
	public  *tpm2.TPMTPublic
	name    tpm2.TPM2BName
}

type loadedKey struct {
	id     string
	handle tpm2.NamedHandle
}

func openLink(a address, deadline time.Time) (*link, error) {
	channel, err := a.open(deadline)
	if err != nil {
		return nil, err
	}
	l := &link{channel: channel, deadline: deadline}
	if err := l.setUp(); err != nil {
		channel.close()
		return nil, err
	}
	return l, nil
}

func (l *link) setUp() error {
	if !l.channel.managed() {
		if err := l.sweep(); err != nil {
			return fmt.Errorf("freeing the TPM's memory: %w", err)
		}
	}
	return l.readRoot()
}

// Send implements transport.TPM.
func (l *link) Send(command []byte) ([]byte, error) {
	response, err := l.channel.exchange(command, l.deadline)
	return response, transportError(err)
}

// sweep flushes what an earlier client left loaded: without a resource manager it
// would occupy slots until the TPM restarts.
func (l *link) sweep() error {
	for _, kind := range []tpm2.TPMHT{tpm2.TPMHTTransient, tpm2.TPMHTHMACSession, tpm2.TPMHTPolicySession} {
		listed, err := tpm2.GetCapability{
			Capability: tpm2.TPMCapHandles, Property: uint32(kind) << 24, PropertyCount: 64,
		}.Execute(l)
		if err != nil {
			return err
		}
		handles, err := listed.CapabilityData.Data.Handles()
		if err != nil {
			return err
		}
		for _, handle := range handles.Handle {
			if _, err := (tpm2.FlushContext{FlushHandle: handle}).Execute(l); err != nil {
				return err
			}
		}
	}
	return nil
}

// readRoot reads the storage root key, if the TPM has one.
func (l *link) readRoot() error {
	l.root = nil
	read, err := tpm2.ReadPublic{ObjectHandle: rootHandle}.Execute(l)
	if errors.Is(err, tpm2.TPMRCHandle) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the storage root key: %w", err)
	}
	l.root, err = newStorageRoot(read.OutPublic)
	return err
}

func newStorageRoot(encoded tpm2.TPM2BPublic) (*storageRoot, error) {
	public, err := encoded.Contents()
	if err != nil {
		return nil, fmt.Errorf("decoding the storage root key: %w", err)
	}
	a := public.ObjectAttributes
	if !a.Restricted || !a.Decrypt || !a.FixedTPM || a.SignEncrypt {
		return nil, errForeignRoot
	}
	name, err := tpm2.ObjectName(public)
	if err != nil {
		return nil, fmt.Errorf("naming the storage root key: %w", err)
	}
	return &storageRoot{encoded: tpm2.Marshal(encoded), public: public, name: *name}, nil
}

// ensureRoot creates the storage root key if the TPM has none.
func (l *link) ensureRoot() error {
	if l.root != nil {
		return nil
	}
	primary, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.TPMRHOwner,
		InPublic:      tpm2.New2B(tpm2.ECCSRKTemplate),
	}.Execute(l)
	if errors.Is(err, tpm2.TPMRCBadAuth) {
		return errOwned
	}
	if err != nil {
		return fmt.Errorf("creating the storage root key: %w", err)
	}
	_, err = tpm2.EvictControl{
		Auth:             tpm2.TPMRHOwner,
		ObjectHandle:     tpm2.NamedHandle{Handle: primary.ObjectHandle, Name: primary.Name},
		PersistentHandle: rootHandle,
	}.Execute(l)
	if err != nil {
		return fmt.Errorf("keeping the storage root key: %w", err)
	}
	if err := l.flush(primary.ObjectHandle); err != nil {
		return err
	}
	l.root, err = newStorageRoot(primary.OutPublic)
	return err
}

// requireRoot rejects an object that was wrapped for another root.
func (l *link) requireRoot(encoded []byte) error {
	if l.root == nil || !bytes.Equal(l.root.encoded, encoded) {
		return errOtherRoot
	}
	return nil
}

// parent is the storage root key with the session that authorises its use.
func (l *link) parent() (tpm2.AuthHandle, error) {
	return l.authorised(tpm2.NamedHandle{Handle: rootHandle, Name: l.root.name})
}

// authorised adds the reused session to a handle. The object's authorisation
// value is empty. The session is for two other things: it proves that the TPM with
// this root responds, and it encrypts the first parameter of the command.
func (l *link) authorised(h tpm2.NamedHandle) (tpm2.AuthHandle, error) {
	if l.session == nil {
		session, _, err := tpm2.HMACSession(l, tpm2.TPMAlgSHA256, nonceSize,
			tpm2.Salted(rootHandle, *l.root.public),
			tpm2.AESEncryption(128, tpm2.EncryptIn))
		if err != nil {
			return tpm2.AuthHandle{}, fmt.Errorf("starting a session: %w", err)
		}
		l.session = session
	}
	return tpm2.AuthHandle{Handle: h.Handle, Name: h.Name, Auth: l.session}, nil
}

// key returns the handle of a key and loads the key if necessary.
func (l *link) key(obj hal.TPMObject) (tpm2.NamedHandle, error) {
	if err := l.requireRoot(obj.Root); err != nil {
		return tpm2.NamedHandle{}, err
	}
	id := string(obj.Private)
	if i := slices.IndexFunc(l.loaded, func(k loadedKey) bool { return k.id == id }); i >= 0 {
		found := l.loaded[i]
		l.loaded = append(slices.Delete(l.loaded, i, i+1), found)
		return found.handle, nil
	}
	handle, err := l.load(obj)
	if err != nil {
		return tpm2.NamedHandle{}, err
	}
	l.loaded = append(l.loaded, loadedKey{id, handle})
	return handle, nil
}

// load loads an object beside at most maxLoaded-1 keys.
func (l *link) load(obj hal.TPMObject) (tpm2.NamedHandle, error) {
	none := tpm2.NamedHandle{}
	for len(l.loaded) >= maxLoaded {
		if err := l.flush(l.loaded[0].handle.Handle); err != nil {
			return none, err
		}
		l.loaded = slices.Delete(l.loaded, 0, 1)
	}
	public, private, err := decode(obj)
	if err != nil {
		return none, err
	}
	parent, err := l.parent()
	if err != nil {
		return none, err
	}
	rsp, err := tpm2.Load{ParentHandle: parent, InPublic: public, InPrivate: private}.Execute(l)
	if err != nil {
		return none, l.loadError(err)
	}
	return tpm2.NamedHandle{Handle: rsp.ObjectHandle, Name: rsp.Name}, nil
}

// loadError distinguishes a rejected object from a faulty TPM. Some TPMs return
// TPM_RC_FAILURE for a foreign object, so loadError first sends a command that fails
// in failure mode.
func (l *link) loadError(err error) error {
	err = fmt.Errorf("loading an object: %w", err)
	if errors.Is(err, tpm2.TPMRCIntegrity) {
		return errors.Join(errBlob, err)
	}
	if errors.Is(err, tpm2.TPMRCFailure) {
		if _, probe := (tpm2.GetRandom{BytesRequested: 8}).Execute(l); probe == nil {
			return errBlob
		}
	}
	return err
}

func (l *link) flush(handle tpm2.TPMHandle) error {
	if _, err := (tpm2.FlushContext{FlushHandle: handle}).Execute(l); err != nil {
		return fmt.Errorf("flushing an object: %w", err)
	}
	return nil
}

// flushAll flushes the keys and the session of this connection, and ignores errors.
func (l *link) flushAll() {
	for _, key := range l.loaded {
		_ = l.flush(key.handle.Handle)
	}
	if l.session != nil {
		_ = l.flush(l.session.Handle())
	}
}
