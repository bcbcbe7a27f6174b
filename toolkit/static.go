package toolkit

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
)

// Static serves the files of a directory, and of those in it, below a prefix such as
// "/assets" or "/", for GET and HEAD. It does so with fasthttp's file server, so that large files go
// out by sendfile. Of a Range with one range that is served; one with several is answered with the
// whole file (RFC 9110, section 14.2).
//
// A directory is its index.html; one without is not found, as is what is not a regular file, or
// has a name that begins with a dot, /.well-known aside. Symbolic links are followed as long as
// they stay in the directory (see os.Root). What is not found is answered as NotFound says.
//
// Responses have an ETag and Last-Modified, by which clients ask whether they are up to date
// (If-None-Match, If-Range and the others), and Cache-Control: "no-cache", so that they do ask each
// time. For files whose name changes with their content, give cacheControl as "public,
// max-age=31536000, immutable".
//
// A file of up to 64 kB is held in memory, 32 MB of them for each call, and looked at anew for the
// first request after 100 ms: so late may a change be seen. One that has changed in the last two
// seconds, and a larger one, is opened for each request. No file is held open between requests. The
// body of a response is the memory that is held (see fasthttp.Response.SetBodyRaw): middleware may
// replace it, and may not change its bytes.
//
// Where a client takes it, and the type is one that Compress takes, "app.js.br", ".zst" or
// ".gz" is served for "app.js" if it is there and not older. Types are those of the names, which for
// those of the web do not depend on the machine, or else of what the file begins with.
//
// A directory that is not there is an error from Build.
func (b *Builder) Static(prefix, dir string, cacheControl ...string) *Builder {
	b.routes = append(b.routes, staticRoutes("Static", prefix, &static{dir: dir, cacheControl: cacheControl})...)
	return b
}

// StaticFS is Static for an fs.FS, whose files have to be ones that seek: an embed.FS, for one
// directory of it fs.Sub. A file without a time of modification, as all of an embed.FS, does not
// change, and has no Last-Modified; its ETag is made of its content when it is first asked for, and
// it is held in memory longer than others: until what is held has come to 32 MB.
func (b *Builder) StaticFS(prefix string, files fs.FS, cacheControl ...string) *Builder {
	b.routes = append(b.routes, staticRoutes("StaticFS", prefix, &static{files: files, cacheControl: cacheControl})...)
	return b
}

// Static serves the files of a directory. See Builder.Static.
func (g *Group) Static(prefix, dir string, cacheControl ...string) *Group {
	return g.mountStatic("Static", prefix, &static{dir: dir, cacheControl: cacheControl})
}

// StaticFS serves the files of an fs.FS. See Builder.StaticFS.
func (g *Group) StaticFS(prefix string, files fs.FS, cacheControl ...string) *Group {
	return g.mountStatic("StaticFS", prefix, &static{files: files, cacheControl: cacheControl})
}

func (g *Group) mountStatic(call, prefix string, st *static) *Group {
	for _, rt := range staticRoutes(g.call+"."+call, g.prefix+strings.TrimSuffix(prefix, "/"), st) {
		rt.wrap, rt.maxBody = g.wrap, g.maxBody
		g.b.routes = append(g.b.routes, rt)
	}
	return g
}

func staticRoutes(call, prefix string, st *static) []route {
	st.prefix = strings.TrimSuffix(prefix, "/")
	rt := route{call: call, path: st.prefix + "/{filepath:*}", static: st}
	get, head := rt, rt
	get.method, head.method = fasthttp.MethodGet, fasthttp.MethodHead
	return []route{get, head}
}

// static is a call of Static or StaticFS.
type static struct {
	prefix       string // without the slash at its end
	dir          string
	files        fs.FS // or nil
	cacheControl []string

	held memory
}

// handler makes the handler, for Build.
func (st *static) handler(notFound fasthttp.RequestHandler) (fasthttp.RequestHandler, error) {
	cacheControl := "no-cache"
	switch {
	case st.files == nil && st.dir == "":
		return nil, errors.New("no files: an empty name or nil")
	case strings.ContainsAny(st.prefix, "{}"):
		return nil, errors.New("a prefix has no parameters")
	case len(st.cacheControl) > 1:
		return nil, errors.New("more than one Cache-Control")
	case len(st.cacheControl) == 1:
		cacheControl = st.cacheControl[0]
	}
	if !saneValue(cacheControl) {
		return nil, fmt.Errorf("Cache-Control %q is not a header's value", cacheControl)
	}
	files := &fasthttp.FS{FS: st.files, Root: st.dir, AcceptByteRange: true, SkipCache: true, PathRewrite: versionPath}
	if st.files != nil {
		files.AllowEmptyRoot = true
	} else if info, err := os.Stat(st.dir); err != nil {
		return nil, err
	} else if !info.IsDir() {
		return nil, fmt.Errorf("%q is not a directory", st.dir)
	}
	files.PathNotFound = func(ctx *fasthttp.RequestCtx) { // gone since it was found
		ctx.Response.Reset()
		notFound(ctx)
	}
	send := files.NewRequestHandler()
	return func(ctx *fasthttp.RequestCtx) {
		asked, h := &ctx.Request.Header, &ctx.Response.Header
		ranged := len(asked.Peek(fasthttp.HeaderRange)) > 0
		f := st.held.get(ctx.Path(), ranged)
		if f == nil {
			var directory bool
			if f, directory = st.look(string(ctx.Path())); directory {
				redirectToDirectory(ctx)
				return
			}
		}
		if f == nil {
			notFound(ctx)
			return
		}
		v := f.version(ctx, ranged)
		h.Set(fasthttp.HeaderCacheControl, cacheControl)
		switch {
		case v.describe(ctx):
		case len(v.body) > 0 && len(asked.Peek(fasthttp.HeaderRange)) == 0:
			h.Set(fasthttp.HeaderAcceptRanges, "bytes")
			ctx.Response.SetBodyRaw(v.body)
		default:
			ctx.SetUserValue(versionKey{}, v)
			send(ctx)
			if len(v.modified) == 0 {
				h.Del(fasthttp.HeaderLastModified)
			}
		}
	}, nil
}

// versionKey is where fasthttp's file server finds what to send.
type versionKey struct{}

func versionPath(ctx *fasthttp.RequestCtx) []byte {
	return []byte("/" + ctx.UserValue(versionKey{}).(*version).name)
}

// file is what a path asks for.
type file struct {
	versions []*version // as it is, then those compressed that are beside it
	varies   bool       // there may be some
	until    time.Time  // when it has to be looked at anew, zero for never
}

// version is a file as it is, or as it is compressed. It does not change.
type version struct {
	name        string // as of fs.FS
	as          *coding
	size        int64
	changed     time.Time
	modified    []byte // changed as Last-Modified has it, nil for none
	tag         []byte // nil where it cannot be read
	contentType string // "" is for fasthttp to find out
	body        []byte // nil where it is not small, or has changed while it was read
}

// version returns the one that suits a request best.
func (f *file) version(ctx *fasthttp.RequestCtx, ranged bool) *version {
	if !f.varies || ranged {
		return f.versions[0]
	}
	addVary(&ctx.Response.Header, fasthttp.HeaderAcceptEncoding)
	if len(f.versions) == 1 {
		return f.versions[0]
	}
	as := func(c *coding) int { return slices.IndexFunc(f.versions, func(v *version) bool { return v.as == c }) }
	best, _ := negotiate(ctx.Request.Header.PeekAll(fasthttp.HeaderAcceptEncoding), func(c *coding) bool { return as(c) >= 0 })
	return f.versions[as(best)]
}

// look looks for what a path asks for: a file, or a directory that is to be asked for with a
// slash at its end, or nothing. A file that can be held is.
func (st *static) look(asked string) (f *file, directory bool) {
	// What the router has matched is not decoded yet, nor rid of "..".
	rest, ok := strings.CutPrefix(asked, st.prefix+"/")
	name, slash := strings.CutSuffix(rest, "/")
	if !ok || rest != "" && !saneFile(name) {
		return nil, false
	}
	if name == "" {
		name, slash = ".", true
	}
	files := st.files
	if files == nil {
		root, err := os.OpenRoot(st.dir)
		if err != nil {
			return nil, false
		}
		defer root.Close() //nolint:errcheck // it is only read
		files = root.FS()
	}
	info, err := fs.Stat(files, name)
	if err == nil && info.IsDir() {
		if !slash {
			return nil, true
		}
		name, slash = path.Join(name, "index.html"), false
		info, err = fs.Stat(files, name)
	}
	if err != nil || slash || !info.Mode().IsRegular() {
		return nil, false
	}
	f = newFile(files, name, info)
	st.held.put(asked, f)
	return f, false
}

func newFile(files fs.FS, name string, info fs.FileInfo) *file {
	contentType := typeOf(name)
	plain := newVersion(files, name, info, nil, contentType)
	f := &file{versions: []*version{plain}, varies: compressibleType([]byte(contentType))}
	if !f.varies {
		return f
	}
	for _, c := range codings {
		beside, err := fs.Stat(files, name+c.suffix)
		if err == nil && beside.Mode().IsRegular() && !beside.ModTime().Before(plain.changed) {
			f.versions = append(f.versions, newVersion(files, name+c.suffix, beside, c, contentType))
		}
	}
	return f
}

func newVersion(files fs.FS, name string, info fs.FileInfo, as *coding, contentType string) *version {
	v := &version{name: name, as: as, size: info.Size(), changed: info.ModTime(), contentType: contentType}
	if v.size <= maxHeldFile {
		v.read(files)
	}
	if contentType == "" && v.body != nil {
		v.contentType = http.DetectContentType(v.body)
	}
	if v.changed.IsZero() {
		v.tag = v.contentTag(files)
		return v
	}
	v.modified = fasthttp.AppendHTTPDate(nil, v.changed)
	v.tag = v.timeTag()
	return v
}

// read reads the body. Its time is that after it was read, so that a change in the meantime
// is a recent one.
func (v *version) read(files fs.FS) {
	f, err := files.Open(v.name)
	if err != nil {
		return
	}
	defer f.Close() //nolint:errcheck // it is only read
	body := make([]byte, v.size+1)
	n, err := io.ReadFull(f, body)
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return
	}
	if info, err := f.Stat(); err == nil && info.Size() == int64(n) && info.Mode().IsRegular() {
		v.body, v.size, v.changed = body[:n:n], info.Size(), info.ModTime()
	}
}

// saneFile accepts names of files that may be served.
func saneFile(name string) bool {
	if !fs.ValidPath(name) || strings.ContainsAny(name, "\\\x00") {
		return false
	}
	for part := range strings.SplitSeq(strings.TrimPrefix(name, ".well-known/"), "/") {
		if part[0] == '.' {
			return false
		}
	}
	return true
}

// describe sets the header of a response with a file, and reports whether that is all: it
// has answered by the request's conditions, or that there is no such range. What fasthttp's file
// server would make of these it does not see.
func (v *version) describe(ctx *fasthttp.RequestCtx) bool {
	h, asked := &ctx.Response.Header, &ctx.Request.Header
	if v.tag != nil {
		h.SetCanonical(headerETag, v.tag)
	}
	if v.modified != nil {
		h.SetBytesV(fasthttp.HeaderLastModified, v.modified)
	}
	if code := precondition(asked, h); code != 0 {
		answerInstead(ctx, code)
		return true
	}
	if v.contentType != "" {
		h.SetContentType(v.contentType)
	}
	if v.as != nil {
		h.SetContentEncoding(v.as.name)
	}
	asked.Del(fasthttp.HeaderIfModifiedSince)
	if ifRange := asked.Peek(fasthttp.HeaderIfRange); len(ifRange) > 0 {
		if !sameVersion(ifRange, h) {
			asked.Del(fasthttp.HeaderRange)
		}
		asked.Del(fasthttp.HeaderIfRange)
	}
	return refuseRange(ctx, v.size)
}

// sameVersion evaluates If-Range: RFC 9110, section 13.1.5.
func sameVersion(ifRange []byte, h *fasthttp.ResponseHeader) bool {
	if ifRange[0] == '"' || ifRange[0] == 'W' {
		return ifRange[0] == '"' && bytes.Equal(ifRange, h.PeekBytes(headerETag))
	}
	return compareDates(ifRange, h.Peek(fasthttp.HeaderLastModified)) == 0
}

// refuseRange answers a request for one range that is not there. All of an empty file
// is sent, though it has no range.
func refuseRange(ctx *fasthttp.RequestCtx, size int64) bool {
	asked := &ctx.Request.Header
	r := asked.Peek(fasthttp.HeaderRange)
	if len(r) == 0 || !bytes.HasPrefix(r, []byte("bytes=")) || bytes.IndexByte(r, ',') >= 0 {
		return false // the file server ignores others, as it may: section 14.2
	}
	if size == 0 {
		asked.Del(fasthttp.HeaderRange)
		return false
	}
	if _, _, err := fasthttp.ParseByteRange(r, int(size)); err == nil {
		return false
	}
	ctx.Error("Range Not Satisfiable", fasthttp.StatusRequestedRangeNotSatisfiable)
	ctx.Response.Header.Set(fasthttp.HeaderContentRange, "bytes */"+strconv.FormatInt(size, 10))
	return true
}

// redirectToDirectory has a client ask again with a slash at the end, so that a page's relative
// links are right.
func redirectToDirectory(ctx *fasthttp.RequestCtx) {
	to := (&url.URL{Path: string(ctx.Path()) + "/"}).EscapedPath()
	if query := ctx.URI().QueryString(); len(query) > 0 {
		to += "?" + string(query)
	}
	ctx.SetStatusCode(fasthttp.StatusMovedPermanently)
	ctx.Response.Header.Set(fasthttp.HeaderLocation, to)
}

// recently is for how long a file may change once more without a change of its time: what
// coarse clocks of file systems have as their step.
const recently = 2 * time.Second

// recent reports whether a file may yet change without a change of its time.
func (v *version) recent() bool { return time.Since(v.changed) < recently }

// timeTag is an ETag of a time and a size, weak as long as these say little: RFC 9110, section
// 8.8.1.
func (v *version) timeTag() []byte {
	var tag []byte
	if v.recent() {
		tag = append(tag, "W/"...)
	}
	tag = append(tag, '"')
	tag = strconv.AppendInt(tag, v.changed.UnixNano(), 36)
	tag = append(tag, '-')
	tag = strconv.AppendInt(tag, v.size, 36)
	if v.as != nil {
		tag = append(append(tag, '-'), v.as.name...)
	}
	return append(tag, '"')
}

// contentTag is an ETag of the content.
func (v *version) contentTag(files fs.FS) []byte {
	if v.body != nil {
		sum := sha256.Sum256(v.body)
		return appendTag(nil, sum[:])
	}
	f, err := files.Open(v.name)
	if err != nil {
		return nil
	}
	defer f.Close() //nolint:errcheck // it is only read
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return nil
	}
	return appendTag(nil, sum.Sum(nil))
}

// typeOf is the media type of a file's name, "" where it is not known. For those on which pages
// depend, what the machine's tables say does not matter: they are missing in containers, and
// wrong on some Windows.
func typeOf(name string) string {
	ext := strings.ToLower(path.Ext(name))
	if t := webTypes[ext]; t != "" {
		return t
	}
	return mime.TypeByExtension(ext)
}

// webTypes are those that the web's standards name, with their names in the IANA registry.
var webTypes = map[string]string{
	".avif": "image/avif", ".css": "text/css; charset=utf-8", ".csv": "text/csv; charset=utf-8", ".gif": "image/gif",
	".htm": "text/html; charset=utf-8", ".html": "text/html; charset=utf-8", ".ico": "image/x-icon", ".jpeg": "image/jpeg",
	".jpg": "image/jpeg", ".js": "text/javascript; charset=utf-8", ".json": "application/json", ".map": "application/json",
	".md": "text/markdown; charset=utf-8", ".mjs": "text/javascript; charset=utf-8", ".mp3": "audio/mpeg", ".mp4": "video/mp4",
	".otf": "font/otf", ".pdf": "application/pdf", ".png": "image/png", ".svg": "image/svg+xml", ".ttf": "font/ttf",
	".txt": "text/plain; charset=utf-8", ".wasm": "application/wasm", ".webm": "video/webm", ".webmanifest": "application/manifest+json",
	".webp": "image/webp", ".woff": "font/woff", ".woff2": "font/woff2", ".xml": "text/xml; charset=utf-8", ".zip": "application/zip",
}
