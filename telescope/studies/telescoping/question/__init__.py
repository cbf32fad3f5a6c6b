"""What a telescoping study asks: data, without plan or report."""
