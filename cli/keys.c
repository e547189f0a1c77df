/* dynabus keys: CURVE key pairs of the bus. `new` makes one, `show` says what is public of one. */
#include "bus/cert.h"
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

struct new_options {
    enum bus_role role;
    const char *name; /* NULL: of the file, else of the role */
    const char *folder;
    const char *file; /* NULL: FOLDER/NAME.key */
};

static int
failed(const struct dyn_err *err)
{
    (void)fprintf(stderr, "dynabus keys: %s\n", err->text);
    return CLI_FAILED;
}

static int
unknown_role(const char *word)
{
    (void)fprintf(stderr, "dynabus keys: there is no role '%s'; the roles are\n", word);
#define ROLE(name, word_, about) (void)fprintf(stderr, "  %-11s %s\n", word_, about);
#include "bus/roles.def"
#undef ROLE
    return CLI_USAGE;
}

/* Keys of a fleet are made in a fresh folder more often than not. */
static int
make_folder(const char *folder, struct dyn_err *err)
{
    if (mkdir(folder, 0700) != 0 && errno != EEXIST) {
        return dyn_err_set(err, DYN_E_IO, "%s: %s", folder, strerror(errno));
    }
    return 0;
}

/* "keys/anna.key" is anna's. */
static void
name_of_file(const char *file, char out[BUS_CERT_NAME_MAX])
{
    const char *slash = strrchr(file, '/');
    const char *base = slash != NULL ? slash + 1 : file;
    (void)snprintf(out, BUS_CERT_NAME_MAX, "%.*s", (int)strcspn(base, "."), base);
}

static int
choose_path(const struct new_options *options, const char *name, char path[PATH_MAX], struct dyn_err *err)
{
    int len = options->file != NULL ? snprintf(path, PATH_MAX, "%s", options->file)
                                    : snprintf(path, PATH_MAX, "%s/%s.key", options->folder, name);
    if (len <= 0 || len >= PATH_MAX) {
        return dyn_err_set(err, DYN_E_LIMIT, "the path is too long");
    }
    return options->file != NULL ? 0 : make_folder(options->folder, err);
}

static int
make_pair(const struct new_options *options)
{
    char path[PATH_MAX];
    char name[BUS_CERT_NAME_MAX];
    struct bus_cert cert;
    struct dyn_err err;
    (void)snprintf(name, sizeof name, "%s", bus_role_name(options->role));
    if (options->file != NULL) {
        name_of_file(options->file, name);
    }
    const char *chosen = options->name != NULL ? options->name : name;
    if (bus_cert_make(options->role, chosen, &cert, &err) != 0 ||
        choose_path(options, chosen, path, &err) != 0 || bus_cert_save(&cert, path, &err) != 0) {
        return failed(&err);
    }
    explicit_bzero(cert.secret_key, sizeof cert.secret_key);
    (void)printf("%s         public: whoever lets %s in needs it\n"
                 "%s_secret  secret: stays with %s\n",
                 path, chosen, path, chosen);
    return CLI_OK;
}

static int
keys_new(int argc, char **argv)
{
    enum { ROLE_OPTION = 1, NAME, OUT };
    static const struct option known[] = {
        {"role", required_argument, NULL, ROLE_OPTION},
        {"name", required_argument, NULL, NAME},
        {"out", required_argument, NULL, OUT},
        {0},
    };
    struct new_options options = {.role = BUS_ROLE_CLIENT, .folder = "."};
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (option == ROLE_OPTION) {
            options.role = bus_role_by_name(dyn_slice_str(optarg));
            if (options.role == BUS_ROLE_NONE) {
                return unknown_role(optarg);
            }
        } else if (option == NAME) {
            options.name = optarg;
        } else if (option == OUT) {
            options.folder = optarg;
        } else {
            return cli_wrong_usage("keys");
        }
    }
    if (optind < argc) {
        options.file = argv[optind++];
    }
    return optind < argc ? cli_wrong_usage("keys") : make_pair(&options);
}

static int
keys_show(int argc, char **argv)
{
    struct bus_cert cert;
    struct dyn_err err;
    if (argc != 2) {
        return cli_wrong_usage("keys");
    }
    if (bus_cert_load(argv[1], &cert, &err) != 0) {
        return failed(&err);
    }
    explicit_bzero(cert.secret_key, sizeof cert.secret_key);
    (void)printf("public  %s\nrole    %s\nname    %s\n", cert.public_key, bus_role_name(cert.role),
                 cert.name);
    return CLI_OK;
}

int
cli_keys(int argc, char **argv)
{
    static char new_title[] = "dynabus keys new"; /* what getopt's own sentences begin with */
    if (argc >= 2 && strcmp(argv[1], "new") == 0) {
        argv[1] = new_title;
        return keys_new(argc - 1, argv + 1);
    }
    if (argc >= 2 && strcmp(argv[1], "show") == 0) {
        return keys_show(argc - 1, argv + 1);
    }
    return cli_wrong_usage("keys");
}
