package ecosystem

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"testing/fstest"

	"github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"
)

// person is what the applications of frameworks take and give.
type person struct {
	Name string `json:"name" form:"name" query:"name" binding:"required"`
	Age  int    `json:"age" form:"age" query:"age"`
}

func echoApp() http.Handler {
	e := echo.New()
	e.Logger = slog.New(slog.DiscardHandler)
	e.Use(middleware.Recover(), middleware.RequestID(), middleware.Gzip(), middleware.Secure(), middleware.BodyLimit(1<<20))
	e.Pre(middleware.RemoveTrailingSlash())
	e.GET("/users/:id", func(c *echo.Context) error { return c.String(200, "user "+c.Param("id")) })
	e.Any("/bind", func(c *echo.Context) error {
		var p person
		if err := c.Bind(&p); err != nil {
			return err
		}
		return c.JSON(http.StatusCreated, p)
	})
	e.POST("/upload", func(c *echo.Context) error {
		h, err := c.FormFile("file")
		if err != nil {
			return err
		}
		f, err := h.Open()
		if err != nil {
			return err
		}
		defer f.Close()
		return c.Stream(200, "text/plain", f)
	})
	e.GET("/fail", func(*echo.Context) error { return errors.New("secret") })
	e.GET("/teapot", func(*echo.Context) error { return echo.NewHTTPError(http.StatusTeapot, "short and stout") })
	e.GET("/panic", func(*echo.Context) error { panic("oh no") })
	e.GET("/cookie", func(c *echo.Context) error {
		c.SetCookie(&http.Cookie{Name: "seen", Value: "yes"})
		return c.Redirect(http.StatusFound, "/users/1")
	})
	e.GET("/events", func(c *echo.Context) error {
		c.Response().Header().Set("Content-Type", "text/event-stream")
		c.Response().WriteHeader(200)
		for range 3 {
			_, _ = io.WriteString(c.Response(), "data: x\n\n")
			if err := http.NewResponseController(c.Response()).Flush(); err != nil {
				return err
			}
		}
		<-c.Request().Context().Done()
		return nil
	})
	e.StaticFS("/static", fstest.MapFS{"a.txt": {Data: []byte("static")}})
	admin := e.Group("/admin", middleware.BasicAuth(func(_ *echo.Context, user, password string) (bool, error) {
		return user == "me" && password == "secret", nil
	}))
	admin.GET("", func(c *echo.Context) error { return c.NoContent(http.StatusNoContent) })
	return e
}

func TestEcho(t *testing.T) {
	t.Parallel()
	each(t, echoApp(), func(s *server) {
		testFramework(s, "/users/7")
		s.want(s.get("/users/7/"), 200, "user 7")
		s.want(s.get("/fail"), 500, "Internal Server Error")
		s.want(s.get("/teapot"), 418, "short and stout")
		s.want(s.get("/static/a.txt"), 200, "static")
		if got := s.get("/users/7"); got.Header.Get("X-Request-Id") == "" || got.Header.Get("X-Content-Type-Options") != "nosniff" {
			s.Error(got.Header)
		}
	})
}
