// SPDX-License-Identifier: GPL-2.0-only
/*
 * The file system: a directory for each client, directories that users make in them, files that stand for objects.
 *
 * One tree for all mounts. It is held by the clients, not by the mounts: an unmounted tree and its sessions live on, and
 * the next mount shows them. Inodes hold a reference on what they stand for and give it back when they are evicted, so
 * that a file that is open when its directory goes still points at something.
 */
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/fs_parser.h>
#include <linux/kobject.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/pagemap.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/sysfs.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "internal.h"

#define RELAYFS_MAGIC 0x0D6B7ED3	/* LTT's magic, and the format's version */

struct mount_options {
	kuid_t uid;
	kgid_t gid;
	umode_t mode;
	umode_t log_mode;
	unsigned int given;
};

static DEFINE_MUTEX(fs_lock);		/* registration of clients, mount options */
static struct mount_options options;
static struct vfsmount *pin;
static int pins;
static struct relayfs_dir root;

/* ------------------------------------------------------------------------------------------------------- inodes --- */

static void apply_options(struct inode *inode)
{
	const struct relayfs_node *node = inode->i_private;
	umode_t mode = node ? node->mode : 0700;
	umode_t mask = options.mode | 0700;

	if (mode == 0200)
		mask |= options.log_mode;
	/* The owner's bits for group and others too, as far as mode= and log_mode= let them. */
	mode |= (mode >> 3 & 070) | (mode >> 6 & 007);
	inode->i_mode = (inode->i_mode & S_IFMT) | (mode & mask);
	inode->i_uid = options.uid;
	inode->i_gid = options.gid;
}

/* An inode of @type, S_IFREG or S_IFDIR, for what @node says; the inode owns the node from then on. */
struct inode *relayfs_make_inode(struct super_block *sb, umode_t type, struct relayfs_node *node)
{
	struct inode *inode = new_inode(sb);

	if (!inode)
		return NULL;
	inode->i_ino = get_next_ino();
	inode->i_mode = type;
	inode->i_private = node;
	compat_init_times(inode);
	apply_options(inode);
	return inode;
}

static void evict_inode(struct inode *inode)
{
	struct relayfs_node *node = inode->i_private;

	clear_inode(inode);
	if (!node)
		return;
	if (node->obj)
		relayfs_object_put(node->obj);
	kfree(node->dir);
	kfree(node);
}

static int relayfs_mkdir(struct inode *inode, struct dentry *dentry, umode_t mode);
COMPAT_DEFINE_MKDIR(relayfs_mkdir)
static int relayfs_rmdir(struct inode *inode, struct dentry *dentry);

static const struct inode_operations client_dir_iops = {
	.lookup = simple_lookup,
	.mkdir = COMPAT_MKDIR(relayfs_mkdir),
	.rmdir = relayfs_rmdir,
};

/* A name in @parent, whose inode is locked, that stands for nothing yet, as after a look-up: the reference is the caller's. */
static struct dentry *new_name(struct dentry *parent, const char *name)
{
	struct dentry *dentry = d_alloc_name(parent, name);

	if (dentry)
		d_add(dentry, NULL);
	return dentry;
}

/* Makes the directory behind a new @dentry of @parent, whose inode is locked; the directory's inode is locked after. */
static struct relayfs_dir *make_dir(struct relayfs_dir *parent, struct dentry *dentry, struct relayfs_client *client,
				    struct relayfs_object *obj)
{
	struct relayfs_node *node = kzalloc(sizeof(*node), GFP_KERNEL);
	struct relayfs_dir *dir = kzalloc(sizeof(*dir), GFP_KERNEL);
	struct inode *inode = NULL;

	if (node && dir)
		inode = relayfs_make_inode(dentry->d_sb, S_IFDIR, NULL);
	if (!inode) {
		kfree(node);
		kfree(dir);
		return NULL;
	}
	dir->dentry = dentry;
	dir->client = client;
	dir->owner = client ? client->owner : parent->owner;
	INIT_LIST_HEAD(&dir->children);
	if (obj)
		relayfs_object_get(obj);
	node->obj = obj;
	node->dir = dir;
	node->dentry = dentry;
	node->mode = 0700;
	inode->i_private = node;
	apply_options(inode);
	inode->i_op = client && client->mkdir ? &client_dir_iops : &simple_dir_inode_operations;
	inode->i_fop = &simple_dir_operations;
	inc_nlink(inode);
	inode_lock_nested(inode, I_MUTEX_CHILD);
	compat_instantiate(dentry, inode);
	inc_nlink(d_inode(parent->dentry));
	list_add_tail(&node->link, &parent->children);
	return dir;
}

/*
 * Unlinks the files of @dir, whose inode is locked, as it goes. Nobody makes anything in it any more: who still has it as
 * working directory would call a client that may be gone.
 */
static void empty_dir(struct relayfs_dir *dir)
{
	struct relayfs_node *node, *next;

	d_inode(dir->dentry)->i_flags |= S_DEAD;
	list_for_each_entry_safe(node, next, &dir->children, link) {
		struct dentry *dentry = node->dentry;

		list_del(&node->link);
		WRITE_ONCE(node->gone, true);
		d_invalidate(dentry);	/* ends what is mounted there, too: nobody could reach it to unmount it */
		simple_unlink(d_inode(dir->dentry), dentry);
	}
}

/* Removes an empty directory; its inode and its parent's are locked. */
static void remove_dir(struct dentry *parent, struct dentry *dentry)
{
	struct relayfs_node *node = d_inode(dentry)->i_private;

	list_del(&node->link);
	simple_rmdir(d_inode(parent), dentry);
}

/* Makes an object of the client whose directory @parent is, and its directory and files; @parent's inode is locked. */
static int make_object(struct relayfs_dir *parent, struct dentry *dentry)
{
	struct relayfs_client *client = parent->client;
	struct relayfs_object *obj;
	struct relayfs_dir *dir;
	struct inode *made;
	int err;

	obj = client->mkdir(dentry->d_name.name);
	if (IS_ERR(obj))
		return PTR_ERR(obj);
	dir = make_dir(parent, dentry, NULL, obj);
	if (!dir) {
		client->rmdir(obj);
		relayfs_object_put(obj);
		return -ENOMEM;
	}
	made = d_inode(dentry);
	err = client->fill(dir, obj);
	if (err) {
		empty_dir(dir);
		client->rmdir(obj);
		ihold(made);
		remove_dir(parent->dentry, dentry);
		d_drop(dentry);
		inode_unlock(made);
		iput(made);
	} else {
		inode_unlock(made);
	}
	relayfs_object_put(obj);	/* the inodes have theirs */
	return err;
}

static int relayfs_mkdir(struct inode *inode, struct dentry *dentry, umode_t mode)
{
	const struct relayfs_node *parent = inode->i_private;

	return make_object(parent->dir, dentry);
}

/**
 * relayfs_make_directory() - what mkdir(2) in a client's directory does, from the kernel
 * @client: registered
 * @name: of the directory, which there must not be yet
 *
 * Return: 0, -ENOMEM, or what the client's mkdir or fill says.
 */
int relayfs_make_directory(struct relayfs_client *client, const char *name)
{
	struct dentry *parent = client->dir->dentry;
	struct dentry *dentry;
	int err = -ENOMEM;

	inode_lock(d_inode(parent));
	dentry = new_name(parent, name);
	if (dentry)
		err = make_object(client->dir, dentry);
	dput(dentry);
	inode_unlock(d_inode(parent));
	return err;
}
EXPORT_SYMBOL_GPL(relayfs_make_directory);

static int relayfs_rmdir(struct inode *inode, struct dentry *dentry)
{
	struct relayfs_node *parent = inode->i_private;
	struct relayfs_node *node = d_inode(dentry)->i_private;
	int err;

	err = parent->dir->client->rmdir(node->obj);
	if (err)
		return err;
	empty_dir(node->dir);
	remove_dir(dentry->d_parent, dentry);
	return 0;
}

/* --------------------------------------------------------------------------------------------------- superblock --- */

static int show_options(struct seq_file *m, struct dentry *dentry)
{
	if (!uid_eq(options.uid, GLOBAL_ROOT_UID))
		seq_printf(m, ",uid=%u", from_kuid_munged(&init_user_ns, options.uid));
	if (!gid_eq(options.gid, GLOBAL_ROOT_GID))
		seq_printf(m, ",gid=%u", from_kgid_munged(&init_user_ns, options.gid));
	if (options.mode != 0700)
		seq_printf(m, ",mode=%o", options.mode);
	if (options.log_mode)
		seq_printf(m, ",log_mode=%o", options.log_mode);
	return 0;
}

static const struct super_operations super_ops = {
	.statfs = simple_statfs,
	.evict_inode = evict_inode,
	.show_options = show_options,
};

/* A name that was looked for and is not there is forgotten at once. */
static const struct dentry_operations dentry_operations = {
	.d_delete = always_delete_dentry,
};

static int fill_super(struct super_block *sb, struct fs_context *fc)
{
	struct inode *inode;

	sb->s_blocksize = PAGE_SIZE;
	sb->s_blocksize_bits = PAGE_SHIFT;
	sb->s_magic = RELAYFS_MAGIC;
	sb->s_op = &super_ops;
	sb->s_time_gran = 1;
	compat_set_dentry_operations(sb, &dentry_operations);
	inode = relayfs_make_inode(sb, S_IFDIR, NULL);
	if (!inode)
		return -ENOMEM;
	inode->i_op = &simple_dir_inode_operations;
	inode->i_fop = &simple_dir_operations;
	inc_nlink(inode);
	sb->s_root = d_make_root(inode);
	if (!sb->s_root)
		return -ENOMEM;
	root.dentry = sb->s_root;
	INIT_LIST_HEAD(&root.children);
	return 0;
}

enum { OPTION_UID = 1, OPTION_GID = 2, OPTION_MODE = 4, OPTION_LOG_MODE = 8 };

static const struct fs_parameter_spec parameters[] = {
	fsparam_u32("uid", OPTION_UID),
	fsparam_u32("gid", OPTION_GID),
	fsparam_u32oct("mode", OPTION_MODE),
	fsparam_u32oct("log_mode", OPTION_LOG_MODE),
	{}
};

static int parse_param(struct fs_context *fc, struct fs_parameter *param)
{
	struct mount_options *asked = fc->fs_private;
	struct fs_parse_result result;
	int option = fs_parse(fc, parameters, param, &result);

	if (option < 0)
		return option;
	switch (option) {
	case OPTION_UID:
		asked->uid = make_kuid(current_user_ns(), result.uint_32);
		if (!uid_valid(asked->uid))
			return invalf(fc, "relayfs: uid=%u does not exist in this user namespace", result.uint_32);
		break;
	case OPTION_GID:
		asked->gid = make_kgid(current_user_ns(), result.uint_32);
		if (!gid_valid(asked->gid))
			return invalf(fc, "relayfs: gid=%u does not exist in this user namespace", result.uint_32);
		break;
	case OPTION_MODE:
		if (result.uint_32 & ~0777)
			return invalf(fc, "relayfs: mode=%o is not between 0 and 777", result.uint_32);
		asked->mode = result.uint_32;
		break;
	case OPTION_LOG_MODE:
		if (result.uint_32 & ~0222)
			return invalf(fc, "relayfs: log_mode=%o is not made of 0200, 0020 and 0002", result.uint_32);
		asked->log_mode = result.uint_32;
		break;
	}
	asked->given |= option;
	return 0;
}

static void apply_to_tree(struct relayfs_dir *dir)
{
	struct inode *inode = d_inode(dir->dentry);
	struct relayfs_node *node;

	inode_lock(inode);
	apply_options(inode);
	list_for_each_entry(node, &dir->children, link)
		if (!node->dir)
			apply_options(d_inode(node->dentry));
	inode_unlock(inode);
}

/* The options of the latest mount that gave any hold for the one tree. */
static void set_options(const struct mount_options *asked)
{
	struct relayfs_node *client, *dir;

	if (!asked->given)
		return;
	mutex_lock(&fs_lock);
	if (asked->given & OPTION_UID)
		options.uid = asked->uid;
	if (asked->given & OPTION_GID)
		options.gid = asked->gid;
	if (asked->given & OPTION_MODE)
		options.mode = asked->mode;
	if (asked->given & OPTION_LOG_MODE)
		options.log_mode = asked->log_mode;
	apply_to_tree(&root);
	list_for_each_entry(client, &root.children, link) {
		struct inode *inode = d_inode(client->dentry);

		apply_to_tree(client->dir);
		inode_lock(inode);
		list_for_each_entry(dir, &client->dir->children, link)
			if (dir->dir) {
				struct relayfs_node *node;

				apply_options(d_inode(dir->dentry));
				list_for_each_entry(node, &dir->dir->children, link)
					apply_options(d_inode(node->dentry));
			}
		inode_unlock(inode);
	}
	mutex_unlock(&fs_lock);
}

static int get_tree(struct fs_context *fc)
{
	int err = get_tree_single(fc, fill_super);

	if (!err)
		set_options(fc->fs_private);
	return err;
}

static int reconfigure(struct fs_context *fc)
{
	set_options(fc->fs_private);
	return 0;
}

static void free_context(struct fs_context *fc)
{
	kfree(fc->fs_private);
}

static const struct fs_context_operations context_ops = {
	.parse_param = parse_param,
	.get_tree = get_tree,
	.reconfigure = reconfigure,
	.free = free_context,
};

static int init_context(struct fs_context *fc)
{
	fc->fs_private = kzalloc(sizeof(struct mount_options), GFP_KERNEL);
	if (!fc->fs_private)
		return -ENOMEM;
	fc->ops = &context_ops;
	return 0;
}

static struct file_system_type relayfs_type = {
	.owner = THIS_MODULE,
	.name = "relayfs",
	.init_fs_context = init_context,
	.parameters = parameters,
	.kill_sb = compat_kill_super,
};
MODULE_ALIAS_FS("relayfs");

/* ------------------------------------------------------------------------------------------------------ clients --- */

/**
 * relayfs_register_client() - make a client's directory below the mount point
 * @client: what it is; stays until relayfs_unregister_client()
 *
 * Return: 0, -EEXIST if another client has that name, or -ENOMEM.
 */
int relayfs_register_client(struct relayfs_client *client)
{
	struct dentry *dentry = NULL;
	struct relayfs_node *node;
	struct inode *inode;
	int err;

	/* Mounting and unmounting take s_umount, under which a remount takes fs_lock: so not the other way round. */
	err = simple_pin_fs(&relayfs_type, &pin, &pins);
	if (err)
		return err;
	mutex_lock(&fs_lock);
	inode = d_inode(root.dentry);
	inode_lock(inode);
	list_for_each_entry(node, &root.children, link)
		if (!strcmp(node->dentry->d_name.name, client->name)) {
			err = -EEXIST;
			goto unpin;
		}
	err = -ENOMEM;
	dentry = new_name(root.dentry, client->name);
	if (!dentry)
		goto unpin;
	client->dir = make_dir(&root, dentry, client, NULL);
	if (!client->dir)
		goto unpin;
	err = client->populate ? client->populate(client->dir) : 0;
	if (err) {
		empty_dir(client->dir);
		inode_unlock(d_inode(dentry));
		d_drop(dentry);
		remove_dir(root.dentry, dentry);
		goto unpin;
	}
	inode_unlock(d_inode(dentry));
	dput(dentry);
	inode_unlock(inode);
	mutex_unlock(&fs_lock);
	return 0;
unpin:
	dput(dentry);
	inode_unlock(inode);
	mutex_unlock(&fs_lock);
	simple_release_fs(&pin, &pins);
	return err;
}
EXPORT_SYMBOL_GPL(relayfs_register_client);

/**
 * relayfs_unregister_client() - remove a client's directory
 * @client: as registered
 *
 * For the client's module exit: directories that users made hold the module, so there are none now.
 */
void relayfs_unregister_client(struct relayfs_client *client)
{
	struct dentry *dentry = client->dir->dentry;
	struct inode *inode = d_inode(root.dentry);

	mutex_lock(&fs_lock);
	inode_lock(inode);
	inode_lock_nested(d_inode(dentry), I_MUTEX_CHILD);
	empty_dir(client->dir);
	inode_unlock(d_inode(dentry));
	d_invalidate(dentry);	/* and what is mounted there */
	remove_dir(root.dentry, dentry);
	inode_unlock(inode);
	mutex_unlock(&fs_lock);
	simple_release_fs(&pin, &pins);
}
EXPORT_SYMBOL_GPL(relayfs_unregister_client);

int relayfs_fs_init(void)
{
	int err;

	options.uid = GLOBAL_ROOT_UID;
	options.gid = GLOBAL_ROOT_GID;
	options.mode = 0700;
	err = sysfs_create_mount_point(kernel_kobj, "relay");
	if (err)
		return err;
	err = register_filesystem(&relayfs_type);
	if (err)
		sysfs_remove_mount_point(kernel_kobj, "relay");
	return err;
}

void relayfs_fs_exit(void)
{
	unregister_filesystem(&relayfs_type);
	sysfs_remove_mount_point(kernel_kobj, "relay");
}
